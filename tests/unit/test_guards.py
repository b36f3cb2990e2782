"""The guards of ``tests/guards.py`` catch what they are there for: each test here runs a small
test file of its own under them, and reads how it ended.
"""

import shutil
from pathlib import Path

import pytest

pytest_plugins = "pytester"

PRELUDE = "import asyncio, logging, time\nimport schemas.primitives as ours\n"
SETTINGS = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"


def outcomes(pytester: pytest.Pytester, test: str) -> dict[str, int]:
    shutil.copy(Path(__file__).parents[1] / "guards.py", pytester.path / "conftest.py")
    pytester.makeini(SETTINGS)
    pytester.makepyfile(PRELUDE + test)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=60).parseoutcomes()


def test_an_exception_that_a_task_lost(pytester: pytest.Pytester) -> None:
    lost = """
async def fails():
    raise ValueError("lost")

async def test_loses_one():
    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

async def test_is_not_blamed_for_it():
    pass
"""
    assert outcomes(pytester, lost) == {"passed": 2, "errors": 1}


def test_an_exception_in_a_call_back(pytester: pytest.Pytester) -> None:
    lost = """
async def test_loses_one():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
"""
    assert outcomes(pytester, lost) == {"passed": 1, "errors": 1}


def test_an_error_that_is_only_logged(pytester: pytest.Pytester) -> None:
    logged = """
def test_logs_one():
    logging.getLogger("projector").error("a record was skipped")

def test_expects_one(logged_errors):
    logging.getLogger("projector").error("a record was skipped")
    assert logged_errors == ["a record was skipped"]
    logged_errors.clear()
"""
    assert outcomes(pytester, logged) == {"passed": 2, "errors": 1}


def test_a_blocking_call_of_ours_in_the_event_loop(pytester: pytest.Pytester) -> None:
    blocking = """
exec(compile("def nap():\\n    time.sleep(0.001)", ours.__file__, "exec"))

async def test_blocks():
    nap()

async def test_blocks_elsewhere():
    await asyncio.to_thread(nap)

def test_blocks_without_a_loop():
    nap()
"""
    assert outcomes(pytester, blocking) == {"passed": 2, "failed": 1}
