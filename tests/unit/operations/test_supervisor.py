import asyncio
import os
import sys
from pathlib import Path

import pytest

from lockstream.operations import supervisor
from lockstream.operations.supervisor import Command, Supervised
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
