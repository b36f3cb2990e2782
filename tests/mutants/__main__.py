"""``make mutants``: puts each kept bug into a copy of the code, and its tests must fail."""

import argparse
import asyncio
import contextlib
import datetime
import fnmatch
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from operations.shared.console import Advance, print_table, progress_bar, say
from support.postgres import NoPostgres
from tests.mutants.kept import BadMutant, Mutant, kept_mutants
from tests.mutants.trees import Tree
from tests.mutants.verdicts import State, Verdict, judge, run_tests
from tests.side_by_side import Servers

FLOW = "tests/flow/"


def main() -> int:
    arguments = _arguments()
    try:
        chosen = _chosen(kept_mutants(), arguments.only, arguments.sample, arguments.day)
    except BadMutant as error:
        say(f"mutants: {error}")
        return 2
    if not chosen:
        say(f"mutants: none is named {arguments.only}; see tests/mutants/")
        return 2
    # As Ctrl-C: the servers that it has started end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="lockstream-mutants-") as folder, _servers() as env:
            verdicts = asyncio.run(_judge_all(chosen, Path(folder), env, arguments.jobs))
    except KeyboardInterrupt:
        say("mutants: stopped")
        return 130
    _print(verdicts, time.monotonic() - begun)
    return 0 if all(verdict.state == "dead" for verdict in verdicts) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", default="*", help="names, as tests/mutants/NAME.toml; * stands")
    parser.add_argument("--sample", type=int, default=0, help="so many of them, another each day")
    parser.add_argument("--day", default=datetime.date.today().isoformat(), help="of the sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="side by side")
    return parser.parse_args()


def _chosen(mutants: Sequence[Mutant], only: str, sample: int, day: str) -> tuple[Mutant, ...]:
    named = [mutant for mutant in mutants if fnmatch.fnmatch(mutant.name, only)]
    if not sample or sample >= len(named):
        return tuple(named)
    # The days go through all of them: a sample is a stretch of one fixed shuffle.
    random.Random(0).shuffle(named)
    begin = datetime.date.fromisoformat(day).toordinal() * sample
    return tuple(named[(begin + step) % len(named)] for step in range(sample))


@contextlib.contextmanager
def _servers() -> Iterator[dict[str, str]]:
    """One broker and one database for all: a start for each mutant would take most of the time.

    The variables that name them to the integration tests."""
    servers = Servers()
    try:
        found = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": servers.kafka()}
        try:
            found["LOCKSTREAM_TEST_POSTGRES_URL"] = servers.postgres()
        except NoPostgres as error:
            say(f"mutants: without PostgreSQL, as {error}")
        yield found
    finally:
        servers.close()


async def _judge_all(
    mutants: Sequence[Mutant], folder: Path, environment: Mapping[str, str], jobs: int
) -> list[Verdict]:
    trees = [Tree.copy_to(folder / str(number)) for number in range(min(jobs, len(mutants)))]
    verdicts = await _unmutated(mutants, trees[0], environment)
    if verdicts:
        return verdicts
    waiting = list(reversed(mutants))
    with progress_bar("mutants", len(mutants), "judged") as advance:
        async with asyncio.TaskGroup() as tasks:
            for tree in trees:
                tasks.create_task(_work(waiting, tree, environment, verdicts, advance))
    return sorted(verdicts, key=lambda verdict: verdict.mutant)


async def _unmutated(
    mutants: Sequence[Mutant], tree: Tree, environment: Mapping[str, str]
) -> list[Verdict]:
    """What is wrong without any bug: a test that fails anyway notices nothing."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    flow = [test for test in tests if test.startswith(FLOW)]
    groups = [group for group in (flow, [test for test in tests if test not in flow]) if group]
    said = [await run_tests(group, tree, _for(group, environment)) for group in groups]
    passed = frozenset().union(*(outcomes.passed for outcomes in said))
    output = "\n".join(outcomes.output for outcomes in said)
    return [
        Verdict(test, "ERROR", 0.0, f"does not pass without any bug\n{output}")
        for test in tests
        if test not in passed
    ]


async def _work(
    waiting: list[Mutant],
    tree: Tree,
    environment: Mapping[str, str],
    verdicts: list[Verdict],
    advance: Advance,
) -> None:
    while waiting:
        mutant = waiting.pop()
        verdicts.append(await judge(mutant, tree, _for(mutant.tests, environment)))
        advance(1)


def _for(tests: Sequence[str], environment: Mapping[str, str]) -> Mapping[str, str]:
    """A flow test starts a system of its own, broker and all: its topics have no prefix."""
    if not any(test.startswith(FLOW) for test in tests):
        return environment
    shared = ("KAFKA_BOOTSTRAP_SERVERS", "LOCKSTREAM_TEST_POSTGRES_URL")
    return {name: value for name, value in environment.items() if name not in shared}


def _print(verdicts: Sequence[Verdict], seconds: float) -> None:
    rows = [(verdict.mutant, verdict.state, f"{verdict.seconds:.1f}") for verdict in verdicts]
    print_table(("mutant", "state", "s"), rows)
    for verdict in verdicts:
        if verdict.why:
            say(f"\n{verdict.mutant}: {verdict.state}: {verdict.why}")
    states = [verdict.state for verdict in verdicts]
    counts = ", ".join(
        f"{states.count(state)} {state}"
        for state in get_args(State)
        if state in ("dead", "ALIVE") or state in states
    )
    say(f"{len(verdicts)} mutants: {counts}; {seconds / 60:.1f} min")


if __name__ == "__main__":
    sys.exit(main())
