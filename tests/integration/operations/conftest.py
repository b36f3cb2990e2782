"""Where the verbs work: topics, a registry and a read model of the test's own."""

from collections.abc import AsyncIterator

import pytest

from eventlog.kafka import Kafka
from operations.organizations.organizations import ensure_organization
from operations.partners.registration import create_partner
from operations.shared.installation import Installation
from runtime.settings import Settings
from schemas.registry import Partner
from tests.integration.conftest import open_read_model
from tests.integration.fanout.test_fanout import Stream
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


@pytest.fixture
def stream(here: Installation) -> Stream:
    return Stream(here.kafka, here.settings)


@pytest.fixture
async def partner(here: Installation) -> Partner:
    """It is entitled to all that ``acme`` has."""
    return await create_partner(here, "a", "acme", ("*",), "earliest")
