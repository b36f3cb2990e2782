"""An installation for what judges one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.chaos.scripted import Scripted


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Scripted]:
    scripted = Scripted(tmp_path)
    yield scripted
    await scripted.stop_load()
