"""Where the verbs work: topics, a registry and a read model of the test's own."""

from collections.abc import AsyncIterator

import pytest

from eventlog.kafka import Kafka
from operations.organizations.organizations import ensure_organization
from operations.shared.installation import Installation
from runtime.settings import Settings
from tests.integration.conftest import open_read_model
from tests.integration.roles import install


@pytest.fixture
async def here(kafka: Kafka, settings: Settings) -> AsyncIterator[Installation]:
    """It has the organisation ``acme``."""
    await install(kafka, settings)
    model = open_read_model(settings)
    await model.prepare()
    installation = Installation(settings, kafka, model)
    await ensure_organization(installation, "acme")
    yield installation
    await model.close()
