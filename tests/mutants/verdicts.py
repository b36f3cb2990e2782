"""What the tests said of a bug."""

import asyncio
import sys
import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from tests.mutants.kept import Mutant
from tests.mutants.trees import DoesNotApply, Tree

TEST_S = 240.0

State = Literal["dead", "ALIVE", "no longer applies", "ERROR"]


class Verdict(msgspec.Struct, frozen=True):
    """``why``: empty for a mutant that is dead."""

    mutant: str
    state: State
    seconds: float
    why: str = ""


class Outcomes(msgspec.Struct, frozen=True):
    """What one run of pytest said: the tests that failed and those that passed, by node id
    without parameters, and the end of its output."""

    failed: frozenset[str]
    passed: frozenset[str]
    output: str


async def judge(mutant: Mutant, tree: Tree, environment: Mapping[str, str]) -> Verdict:
    """Puts the bug in, runs the tests that it names, and takes it out again."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    state: State
    try:
        with tree.with_bug(mutant):
            said = await run_tests(mutant.tests, tree, environment)
    except DoesNotApply as error:
        state, why = "no longer applies", str(error)
    except TimeoutError:
        state, why = "ERROR", f"its tests did not end within {TEST_S:.0f} s each"
    else:
        state, why = _of(mutant, said)
    return Verdict(mutant.name, state, loop.time() - begun, why)


def _of(mutant: Mutant, said: Outcomes) -> tuple[State, str]:
    survived = [test for test in mutant.tests if test not in said.failed]
    if not survived:
        return "dead", ""
    if all(test in said.passed for test in survived):
        return "ALIVE", f"passed: {', '.join(survived)}"
    return "ERROR", f"neither passed nor failed: {', '.join(survived)}\n{said.output}"


async def run_tests(tests: Sequence[str], tree: Tree, environment: Mapping[str, str]) -> Outcomes:
    """
    Raises:
        TimeoutError: they do not end within ``TEST_S`` seconds each.
    """
    with tempfile.TemporaryDirectory(prefix="lockstream-mutants-") as folder:
        report = Path(folder) / "report.xml"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line"),
            *(f"--junitxml={report}", f"--basetemp={folder}/tests"),
            *tests,
            cwd=tree.folder,
            # The copy's `lockstream`, in all processes that a test starts.
            env={**environment, "PYTHONPATH": str(tree.folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(TEST_S * len(tests)):
                output, _ = await process.communicate()
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        failed, passed = _read(report)
        return Outcomes(failed, passed, output.decode(errors="replace")[-2_000:])


def _read(report: Path) -> tuple[frozenset[str], frozenset[str]]:
    if not report.is_file():
        return frozenset(), frozenset()
    failed, others = set(), set()
    for case in xml.parse(report).getroot().iter("testcase"):
        path = case.get("classname", "").replace(".", "/")
        name = f"{path}.py::{case.get('name', '').partition('[')[0]}"
        if case.find("failure") is not None:
            failed.add(name)
        elif case.find("error") is None and case.find("skipped") is None:
            others.add(name)
    return frozenset(failed), frozenset(others - failed)
