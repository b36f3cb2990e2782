"""A partner with a user of its own reads its own events, and can do nothing else: tried from
outside, with four foreign clients, each attempt also by a user that may do everything."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from eventlog.acls import CLUSTER, allowed, principal_of
from eventlog.kafka import Kafka
from eventlog.local.local_broker import LocalBroker
from eventlog.local.partner_listener import PartnerListener
from eventlog.records import Output
from operations.organizations.organizations import ensure_organization
from operations.partners.changes import remove_partner
from operations.partners.client_files import Access, client_file
from operations.partners.credentials import (
    Issued,
    credential_states,
    issue_credential,
    revoke_credentials,
)
from operations.partners.listener_tls import ensure_certificates
from operations.partners.registration import create_partner
from operations.shared.installation import Installation, open_installation
from runtime.ports import free_port
from runtime.settings import Settings
from tests.certificates import make_certificate
from tests.flow.boundary import kafka_tools, librdkafka
from tests.flow.boundary.kafka_tools import KafkaTools
from tests.flow.boundary.place import ALLOWED, REFUSED, Login, Victims

EXAMPLES = Path(__file__).parents[3] / "examples"
HERE = Path(__file__).parent
OWN, OTHER = "acme", "acme-b"
LIBRDKAFKA, KAFKAJS, FRANZ, TOOLS = 45, 12, 19, 8
"""Attempts with each client."""
LEAST = 60
CUT_OFF_S = 10.0

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]


class Place(msgspec.Struct, frozen=True):
    here: Installation
    broker: LocalBroker
    ca: Path
    partner: Login
    everything: Login

    @property
    def victims(self) -> Victims:
        return Victims.of(self.here.settings.topics, OWN, OTHER)

    def login(self, issued: Issued) -> Login:
        return Login(self.broker.partner_servers, self.ca, issued.user, issued.password, OTHER)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalBroker, Path]]:
    folder = tmp_path_factory.mktemp("boundary")
    tls = ensure_certificates(folder, ["127.0.0.1"])
    partners = PartnerListener("127.0.0.1", free_port(0), tls.keystore)
    broker = LocalBroker.start(
        folder / "broker", port=free_port(0), heap_mib=256, partners=partners
    )
    yield broker, Path(tls.ca)
    broker.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    broker: tuple[LocalBroker, Path], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    running, ca = broker
    settings = Settings(
        kafka_bootstrap_servers=running.bootstrap_servers,
        partner_bootstrap_servers=running.partner_servers,
        partner_ca=str(ca),
        partitions=3,
        state_dir=tmp_path_factory.mktemp("state"),
    )
    async with open_installation(settings, "test") as here:
        issued = {}
        for partner in (OWN, OTHER):
            await ensure_organization(here, partner)
            await create_partner(here, partner, partner, ("*",), "earliest")
            issued[partner] = await issue_credential(here, partner)
            await write(here.kafka, settings.topics.partner_events(partner))
        for topic in (settings.topics.lock_events, settings.topics.lock_facts):
            await write(here.kafka, topic)
        everything = Issued("everything", "everything")
        async with here.kafka.access_admin() as access:
            await access.set_password("victim", "victim")
            await access.set_password(everything.user, everything.password)
        logins = [
            Login(running.partner_servers, ca, one.user, one.password, OWN)
            for one in (issued[OWN], everything)
        ]
        await commit_as(running.bootstrap_servers, Victims.of(settings.topics, OWN, OTHER))
        yield Place(here, running, ca, *logins)


async def write(kafka: Kafka, topic: str) -> None:
    async with kafka.idempotent_producer() as producer:
        for partition in range(3):
            await producer.send_and_wait(Output(topic, b"7", b"{}"), partition)


async def commit_as(servers: str, victims: Victims) -> None:
    """Leaves offsets in the groups that the attempts aim at, so that there is something to see."""

    def commit() -> None:
        for group in (victims.group, *victims.internal_groups):
            consumer = Consumer({"bootstrap.servers": servers, "group.id": group})
            _commit(consumer, [TopicPartition(victims.own, 0, 1)])
            consumer.close()

    await asyncio.to_thread(commit)


def _commit(consumer: Consumer, offsets: list[TopicPartition]) -> None:
    """Commits once the group's coordinator is ready: a new cluster has none yet."""
    for _ in range(100):
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if not error.args[0].retriable() and "coordinator" not in error.args[0].str().lower():
                raise
            time.sleep(0.1)
        else:
            return
    pytest.fail("there is no coordinator")


@pytest_asyncio.fixture(loop_scope="module")
async def allowed_everything(place: Place) -> Login:
    """A user that may do all that is tried: what is refused to the partner must work for it."""
    principal = principal_of(place.everything.user)
    rules = [
        *allowed(principal, "topic", "*", ("read", "write", "create", "delete", "alter")),
        *allowed(principal, "topic", "*", ("describe-configs", "alter-configs")),
        *allowed(principal, "group", "*", ("read", "describe", "delete")),
        *allowed(principal, "transactional-id", "*", ("write", "describe")),
        *allowed(principal, "cluster", CLUSTER, ("create", "alter", "describe")),
        *allowed(principal, "cluster", CLUSTER, ("describe-configs", "alter-configs")),
    ]
    async with place.here.kafka.access_admin() as access:
        await access.allow(rules)
    return place.everything


# -- the partner reads what is its own -------------------------------------------------------------


async def test_a_partner_reads_its_own_topic_with_and_without_a_group(place: Place) -> None:
    for group in (None, OWN, f"{OWN}.reader"):
        read = asyncio.to_thread(librdkafka.consume, place.partner, place.victims.own, group)
        assert await read == b"{}"


# -- and nothing else ------------------------------------------------------------------------------


async def test_librdkafka_is_refused_everything_else(place: Place) -> None:
    found = await asyncio.to_thread(_try_librdkafka, place.partner, place.victims)
    _all_refused(found, LIBRDKAFKA)


def _try_librdkafka(login: Login, victims: Victims) -> dict[str, str]:
    return {
        name: librdkafka.outcome(attempt)
        for name, attempt in librdkafka.attempts(login, victims).items()
    }


async def test_kafkajs_is_refused_everything_else(place: Place) -> None:
    _all_refused(await _try_kafkajs(place.partner, place.victims), KAFKAJS)


async def _try_kafkajs(login: Login, victims: Victims) -> dict[str, str]:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("kafkajs needs Node.js, which is not on this machine")
    example = EXAMPLES / "partner-javascript"
    if not (example / "node_modules").exists():
        await _run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], example, {})
    more = {"EXAMPLE": str(example)}
    said = await _run(["node", str(HERE / "kafkajs.mjs")], HERE, _variables(login, victims) | more)
    return _outcomes(said)


async def test_franz_go_is_refused_everything_else(place: Place) -> None:
    _all_refused(await _try_franz(place.partner, place.victims), FRANZ)


async def _try_franz(login: Login, victims: Victims) -> dict[str, str]:
    if shutil.which("go") is None:
        pytest.skip("franz-go needs Go, which is not on this machine")
    said = await _run(["go", "run", "."], HERE / "franz", _variables(login, victims))
    return _outcomes(said)


async def test_kafkas_own_tools_are_refused_everything_else(place: Place, tmp_path: Path) -> None:
    found = await asyncio.to_thread(_try_tools, place.partner, place.victims, tmp_path)
    _all_refused(found, TOOLS)


def _try_tools(login: Login, victims: Victims, folder: Path) -> dict[str, str]:
    properties = folder / "client.properties"
    access = Access(
        login.servers, login.user, login.password, login.ca.read_text(), victims.own, OWN
    )
    properties.write_text(client_file("java", access))
    tools = KafkaTools(login.servers, properties, folder / "maven")
    return {
        name: kafka_tools.outcome(tools.run(*arguments, said=said))
        for name, (arguments, said) in kafka_tools.attempts(tools, victims).items()
    }


def _all_refused(found: Mapping[str, str], count: int) -> None:
    assert {name: outcome for name, outcome in found.items() if outcome != REFUSED} == {}
    assert len(found) == count


async def test_there_are_sixty_attempts_at_least() -> None:
    assert LIBRDKAFKA + KAFKAJS + FRANZ + TOOLS >= LEAST


def _variables(login: Login, victims: Victims) -> dict[str, str]:
    return {
        **victims.environment,
        "SERVERS": login.servers,
        "CA": str(login.ca),
        "KAFKA_USER": login.user,
        "KAFKA_PASSWORD": login.password,
        "GROUP": OWN,
    }


async def _run(command: list[str], folder: Path, variables: Mapping[str, str]) -> str:
    def run() -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return await asyncio.to_thread(run)


def _outcomes(said: str) -> dict[str, str]:
    lines = [json.loads(line) for line in said.splitlines()]
    return {line["attempt"]: line["outcome"] for line in lines}


# -- logging in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "because"),
    [
        ({"sasl.password": "wrong"}, "Authentication failed"),
        ({"sasl.username": "acme-b/1"}, "Authentication failed"),
        ({"sasl.username": "ANONYMOUS", "sasl.password": "x"}, ""),
        ({"sasl.mechanism": "PLAIN"}, "mechanism"),
        ({"sasl.mechanism": "SCRAM-SHA-256"}, "mechanism"),
        ({"security.protocol": "SSL"}, ""),
        ({"security.protocol": "SASL_PLAINTEXT"}, ""),
        ({"security.protocol": "PLAINTEXT"}, ""),
        ({"ssl.ca.location": "other"}, "certificate"),
    ],
    ids=lambda value: ",".join(map(str, value.items())) if isinstance(value, dict) else "",
)
async def test_nobody_comes_in_without_its_own_password_over_tls(
    place: Place, changed: dict[str, str], because: str, tmp_path: Path
) -> None:
    if "ssl.ca.location" in changed:
        changed = {"ssl.ca.location": make_certificate(tmp_path)[0]}
    said: list[str] = []

    def ask() -> None:
        options = {**place.partner.librdkafka, **changed}
        admin = AdminClient({**options, "error_cb": lambda error: said.append(error.str())})
        try:
            admin.list_topics(timeout=5.0)
        finally:
            admin.poll(1.0)

    with pytest.raises(KafkaException) as raised:
        await asyncio.to_thread(ask)
    assert raised.value.args[0].code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT)
    assert any(because in line for line in said), said


# -- revoking, rotating, removing ------------------------------------------------------------------


async def test_a_revoked_user_is_cut_off_amid_its_reading_and_the_next_goes_on(
    place: Place,
) -> None:
    first = await issue_credential(place.here, OTHER)
    second = await issue_credential(place.here, OTHER)
    topic = place.here.settings.topics.partner_events(OTHER)
    consumer = Consumer({**place.login(first).librdkafka, "group.id": f"{OTHER}.x"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert await asyncio.to_thread(_poll, consumer) is None

    await revoke_credentials(place.here, OTHER, first.user)

    error = await asyncio.to_thread(_poll_until_refused, consumer)
    assert error.code() in librdkafka.REFUSALS
    consumer.close()
    assert await asyncio.to_thread(librdkafka.consume, place.login(first), topic) is None
    assert await asyncio.to_thread(librdkafka.consume, place.login(second), topic) == b"{}"
    states = {s.credential.user: s.state for s in await credential_states(place.here, OTHER)}
    assert (states[first.user], states[second.user]) == ("revoked", "live")


def _poll(consumer: Consumer) -> KafkaError | None:
    message = consumer.poll(10.0)
    assert message is not None
    return message.error()


def _poll_until_refused(consumer: Consumer) -> KafkaError:
    """Another event is there to be read at any time: a poll that finds none is refused, or not."""
    consumer.seek(TopicPartition(consumer.assignment()[0].topic, 0, 0))
    for _ in range(int(CUT_OFF_S / 0.2)):
        message = consumer.poll(0.2)
        if message is not None and message.error() is not None:
            error: KafkaError = message.error()
            return error
    pytest.fail(f"it may still read after {CUT_OFF_S:.0f} s")


async def test_a_removed_partner_has_no_user_and_no_rule_left(place: Place) -> None:
    partner = f"gone-{uuid.uuid4().hex[:8]}"
    await create_partner(place.here, partner, OWN, ("*",), "earliest")
    issued = await issue_credential(place.here, partner)
    await remove_partner(place.here, partner, with_topic=False)
    async with place.here.kafka.access_admin() as access:
        assert await access.users([issued.user]) == set()
        assert await access.acls(principal_of(issued.user)) == set()
    assert [s.state for s in await credential_states(place.here, partner)] == ["revoked"]
    # Whoever has the id next has other users.
    await create_partner(place.here, partner, OWN, ("*",), "earliest")
    assert (await issue_credential(place.here, partner)).user == f"{partner}/2"
    await remove_partner(place.here, partner, with_topic=True)


async def test_what_a_user_may_read_a_second_is_set_and_goes_with_it(
    place: Place, tmp_path: Path
) -> None:
    issued = await issue_credential(place.here, OTHER)
    properties = tmp_path / "ours.properties"
    properties.write_text("security.protocol=PLAINTEXT\n")
    tools = await asyncio.to_thread(
        KafkaTools, place.broker.bootstrap_servers, properties, tmp_path / "maven"
    )

    def rate() -> float | None:
        done = tools.run(
            "kafka.admin.ConfigCommand",
            *("--describe", "--entity-type", "users", "--entity-name", issued.user),
        )
        assert done.returncode == 0, done.stderr
        found = re.search(r"consumer_byte_rate=([0-9.E]+)", done.stdout)
        return None if found is None else float(found.group(1))

    assert await asyncio.to_thread(rate) == place.here.settings.partner_max_rate
    await revoke_credentials(place.here, OTHER, issued.user)
    assert await asyncio.to_thread(rate) is None


# -- what is refused to the partner works for whoever is allowed it --------------------------------
# Last in this file: they take away what the others need.


async def test_each_attempt_works_for_a_user_that_is_allowed_it(
    place: Place, allowed_everything: Login
) -> None:
    found = await asyncio.to_thread(_try_librdkafka, allowed_everything, place.victims)
    refused = [name for name, outcome in found.items() if outcome == REFUSED]
    assert refused == []
    assert sum(outcome == ALLOWED for outcome in found.values()) > 40, found
