"""Verbs that change the registry: whoever comes second sees what the first wrote, and user errors
are told before Kafka is asked."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import pytest

from eventlog import registry as registry_module
from eventlog.kafka import Kafka
from eventlog.registry import Registry, edit_registry, read_registry
from eventlog.topic_setup import ensure_topics, topic_exists
from operations.locks.creation import ensure_lock
from operations.locks.files import LockLine
from operations.locks.move import move_lock
from operations.organizations.keys import create_key
from operations.organizations.organizations import ensure_organization
from operations.organizations.removal import remove_organization
from operations.partners.changes import set_status
from operations.partners.registration import create_partner
from operations.shared.installation import Installation
from projector.role import run_projector
from runtime.errors import ConfigurationError, ReadModelUnavailable
from schemas.primitives import write_time
from schemas.registry import ApiKey, Organization, Partner
from schemas.topic_configs import partner_topic
from tests.integration.roles import install, running


@pytest.fixture
async def here(here: Installation) -> Installation:
    await ensure_organization(here, "bolt")
    return here


async def add(here: Installation, partner_id: str, org_id: str = "acme") -> Partner:
    return await create_partner(here, partner_id, org_id, ("*",), "earliest")


async def registry_of(here: Installation) -> Registry:
    return await read_registry(here.kafka, here.settings.topics.registry)


def after_the_next_reading(
    monkeypatch: pytest.MonkeyPatch, step: Callable[[], Awaitable[object]]
) -> None:
    """Lets somebody else take a whole step between the next edit's reading and its writing."""
    read, taken = registry_module.read_registry, False

    async def read_and_step(kafka: Kafka, topic: str) -> Registry:
        nonlocal taken
        found = await read(kafka, topic)
        if not taken:
            taken = True
            await step()
        return found

    monkeypatch.setattr(registry_module, "read_registry", read_and_step)


async def test_two_partners_added_at_once_under_one_id_are_one_and_the_second_is_refused(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_the_next_reading(monkeypatch, lambda: add(here, "crm", "bolt"))
    with pytest.raises(ConfigurationError, match="partner crm exists already"):
        await add(here, "crm", "acme")
    partner = (await registry_of(here)).partner("crm")
    assert partner is not None
    assert partner.org_id == "bolt"


async def test_a_pause_beside_a_removal_brings_nobody_back(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(here, "crm")
    after_the_next_reading(monkeypatch, lambda: set_status(here, "crm", "removed"))
    with pytest.raises(ConfigurationError, match="there is no partner crm"):
        await set_status(here, "crm", "paused")
    partner = (await registry_of(here)).partner("crm")
    assert partner is not None
    assert partner.status == "removed"


async def test_a_key_issued_beside_the_removal_of_its_organisation_is_refused(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_the_next_reading(monkeypatch, lambda: remove_organization(here, "acme"))
    with pytest.raises(ConfigurationError, match="there is no organisation acme"):
        await create_key(here, "acme", None)
    assert (await registry_of(here)).all(ApiKey) == []


async def test_an_organisation_registered_twice_at_once_is_registered_once(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_the_next_reading(monkeypatch, lambda: ensure_organization(here, "corp"))
    assert not await ensure_organization(here, "corp")


@pytest.mark.parametrize(
    ("existing", "partner_id", "problem"),
    [
        ("a.b", "a_b", "can't be told from"),
        ("a_b.c", "a.b_c", "can't be told from"),
        ("crm", "crm.lock-events", "the beginning of the other"),
        ("crm.lock-events.eu", "crm", "the beginning of the other"),
    ],
)
async def test_a_partner_id_that_kafka_or_an_acl_could_take_for_anothers_is_refused(
    here: Installation, existing: str, partner_id: str, problem: str
) -> None:
    await add(here, existing)
    with pytest.raises(ConfigurationError, match=problem):
        await add(here, partner_id)
    assert (await registry_of(here)).partner(partner_id) is None


@pytest.mark.parametrize("partner_id", ["crm.lock-events.replay", "crm.lock-events.replay.1.eu"])
async def test_a_partner_id_whose_topic_begins_like_anothers_replay_is_refused(
    here: Installation, partner_id: str
) -> None:
    """Also if there is no such other: it may come."""
    with pytest.raises(ConfigurationError, match="would begin like another partner's replay"):
        await add(here, partner_id)
    assert (await registry_of(here)).partner(partner_id) is None
    await add(here, "crm.lock-events-replay")


async def test_a_partner_id_whose_topic_would_be_too_long_is_refused(here: Installation) -> None:
    settings = msgspec.structs.replace(here.settings, topic_prefix="p" * 200)
    long = msgspec.structs.replace(here, settings=settings)
    await install(long.kafka, settings)
    with pytest.raises(ConfigurationError, match="more than the 249 that Kafka takes"):
        await add(long, "x" * 40)


async def test_ids_that_only_look_alike_live_side_by_side(here: Installation) -> None:
    for partner_id in ("acme", "acme-eu", "acme-lock-events", "Acme"):
        await add(here, partner_id)
    assert {p.id for p in (await registry_of(here)).all(Partner)} >= {"acme", "acme-eu", "Acme"}


@pytest.mark.parametrize(("first", "second"), [("acme", "acme.eu"), ("acme.eu", "acme")])
async def test_an_id_whose_groups_would_be_anothers_is_refused(
    here: Installation, first: str, second: str
) -> None:
    await add(here, first)
    with pytest.raises(ConfigurationError, match="every consumer group whose name begins"):
        await add(here, second)
    assert [p.id for p in (await registry_of(here)).all(Partner)] == [first]


async def test_a_partner_of_an_unknown_organisation_is_refused_unless_forced(
    here: Installation,
) -> None:
    with pytest.raises(ConfigurationError, match="there is no organisation acne; `lockstream org"):
        await add(here, "crm", "acne")
    assert not await topic_exists(here.kafka, here.settings.topics.partner_events("crm"))
    await create_partner(here, "crm", "acne", ("*",), "earliest", force=True)
    assert await topic_exists(here.kafka, here.settings.topics.partner_events("crm"))


async def test_an_addition_that_was_broken_off_can_be_made_again(here: Installation) -> None:
    await ensure_topics(here.kafka, here.settings, [partner_topic(here.settings.topics, "crm")])
    assert (await add(here, "crm")).status == "active"


async def test_an_organisation_goes_only_when_nothing_belongs_to_it_any_more(
    here: Installation,
) -> None:
    key, _ = await create_key(here, "acme", None)
    await add(here, "crm")
    async with running(run_projector, here.settings):
        await ensure_lock(here, LockLine(7, "acme", None))
        with pytest.raises(ConfigurationError, match="has the partner crm"):
            await remove_organization(here, "acme")
        await set_status(here, "crm", "removed")
        with pytest.raises(ConfigurationError, match=f"has the live key {key.key_id}"):
            await remove_organization(here, "acme")
        now = write_time(datetime.now(UTC))
        revoked = msgspec.structs.replace(key, revoked_at=now)
        await edit_registry(here.kafka, here.settings.topics.registry, lambda _: [revoked])
        with pytest.raises(ConfigurationError, match="has 1 locks"):
            await remove_organization(here, "acme")
        assert (await move_lock(here, 7, "bolt", force=False)).lock.version == 2
        await remove_organization(here, "acme")
    assert [o.id for o in (await registry_of(here)).all(Organization)] == ["bolt"]
    with pytest.raises(ConfigurationError, match="there is no organisation acme"):
        await remove_organization(here, "acme")


async def test_whose_the_locks_are_is_not_answered_by_a_model_that_is_behind(
    here: Installation,
) -> None:
    async with running(run_projector, here.settings):
        await ensure_lock(here, LockLine(7, "acme", None))
    await here.read_model.reset()
    with pytest.raises(ReadModelUnavailable, match="behind"):
        await remove_organization(here, "acme")


async def test_a_lock_moves_once_and_moving_it_again_changes_nothing(here: Installation) -> None:
    async with running(run_projector, here.settings):
        await ensure_lock(here, LockLine(7, "acme", None))
        with pytest.raises(ConfigurationError, match="there is no organisation acne"):
            await move_lock(here, 7, "acne", force=False)
        with pytest.raises(ConfigurationError, match="there is no lock 8"):
            await move_lock(here, 8, "bolt", force=False)
        moved = await move_lock(here, 7, "bolt", force=False)
        again = await move_lock(here, 7, "bolt", force=False)
    assert (moved.changed, moved.lock.org_id, moved.lock.version) == (True, "bolt", 2)
    assert (again.changed, again.lock.version) == (False, 2)
