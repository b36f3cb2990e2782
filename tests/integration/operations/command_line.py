"""The command itself, as a process of its own, on a test's installation."""

import asyncio
import json
import os
import sys
from typing import Any

import msgspec

from operations.shared.installation import Installation


class Done(msgspec.Struct, frozen=True):
    code: int
    stdout: bytes
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


async def started(here: Installation, *arguments: str) -> asyncio.subprocess.Process:
    settings = here.settings
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LOCKSTREAM_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "operations", *arguments),
        cwd=settings.state_dir,
        env={
            **inherited,
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "LOCKSTREAM_TOPIC_PREFIX": settings.topic_prefix,
            "LOCKSTREAM_PARTITIONS": str(settings.partitions),
            "LOCKSTREAM_STATE_DIR": str(settings.state_dir),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def lockstream(here: Installation, *arguments: str) -> Done:
    return await end_of(await started(here, *arguments))


async def end_of(process: asyncio.subprocess.Process) -> Done:
    async with asyncio.timeout(60):
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, stdout, stderr.decode())
