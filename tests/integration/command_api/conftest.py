"""What the API's tests have in common."""

from collections.abc import AsyncIterator

import pytest

from read_model.store import ReadModel
from runtime.settings import Settings
from tests.integration.conftest import open_read_model


@pytest.fixture
async def model(settings: Settings) -> AsyncIterator[ReadModel]:
    model = open_read_model(settings)
    await model.prepare()
    yield model
    await model.close()
