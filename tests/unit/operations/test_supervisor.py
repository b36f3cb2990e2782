import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from operations.running import supervisor
from operations.running.supervisor import Command, Supervised
from runtime.errors import ConfigurationError
from tests.integration.kafka_tools import eventually

WRITES = "import os, time\nwhile True: os.write(1, b'x' * 999 + b'\\n'); time.sleep(0.0005)"


async def test_a_log_stays_small_while_its_process_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES", 100_000)
    monkeypatch.setattr(supervisor, "LOG_WATCH_S", 0.05)
    log = tmp_path / "role.log"
    command = Command("role", (sys.executable, "-c", WRITES), os.environ, log)
    service = Supervised(command, lambda: None)
    running = asyncio.create_task(service.run())
    cuts: list[int] = []
    before = 0

    async def cut_three_times() -> bool:
        nonlocal before
        size = (await asyncio.to_thread(log.stat)).st_size if log.exists() else 0
        if size < before:
            cuts.append(before)
        before = size
        return len(cuts) >= 3

    await eventually(cut_three_times)
    await service.stop()
    await running
    older = (await asyncio.to_thread((tmp_path / "role.log.1").read_bytes)).splitlines()
    assert len(older) > 100
    assert set(older) == {b"x" * 999}
    # After a cut it writes on at the beginning, not behind a hole.
    assert set((await asyncio.to_thread(log.read_bytes)).splitlines()) <= {b"x" * 999}


ENDS_ONCE = """
import pathlib, sys, time
again = pathlib.Path(sys.argv[1])
if again.exists():
    time.sleep(600)
again.touch()
"""


@pytest.mark.parametrize("end", [Supervised.stop, Supervised.kill])
@pytest.mark.parametrize("rounds", [*range(1, 12), 100])
async def test_one_that_is_being_started_again_is_stopped_too(
    tmp_path: Path, end: Callable[[Supervised], Awaitable[None]], rounds: int
) -> None:
    """``rounds`` of the loop after it was decided to start it again."""
    decided = asyncio.Event()
    arguments = (sys.executable, "-c", ENDS_ONCE, str(tmp_path / "again"))
    command = Command("role", arguments, os.environ, tmp_path / "role.log")
    service = Supervised(
        command, lambda: None, longest_pause_s=0.0, tell=lambda line: decided.set()
    )
    running = asyncio.create_task(service.run())
    await decided.wait()
    for _ in range(rounds):
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await end(service)
        await running
    if service.pid is not None:
        with pytest.raises(ProcessLookupError):
            os.kill(service.pid, 0)


async def test_one_that_dies_is_started_again_at_once_and_then_with_growing_pauses(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    starts: list[int | None] = []
    command = Command("role", (sys.executable, "-c", "1 / 0"), os.environ, tmp_path / "role.log")
    service = Supervised(command, lambda: starts.append(service.pid), tell=told.append)
    running = asyncio.create_task(service.run())

    async def has_died_three_times() -> bool:
        return len(told) >= 3

    await eventually(has_died_three_times)
    await service.stop()
    await running
    begins = [line.partition("; see ")[0] for line in told[:3]]
    assert begins == [
        "role ended (exit code 1), starting it again",
        "role ended (exit code 1), starting it again in 0.5 s",
        "role ended (exit code 1), starting it again in 1.0 s",
    ]
    assert len(set(starts)) >= 3


async def test_one_that_its_configuration_has_ended_is_not_started_again(tmp_path: Path) -> None:
    ends = "import sys; print('lockstream: SETTING: no', file=sys.stderr); sys.exit(2)"
    starts: list[None] = []
    command = Command("role", (sys.executable, "-c", ends), os.environ, tmp_path / "role.log")
    service = Supervised(command, lambda: starts.append(None))
    async with asyncio.timeout(30):
        with pytest.raises(ConfigurationError, match=r"^SETTING: no\Z"):
            await service.run()
    assert len(starts) == 1
