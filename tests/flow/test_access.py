"""Who may ask, on a system of two API replicas: issuers with a real JWKS endpoint, API keys, and
who is recorded as having asked."""

import json
import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest

from eventlog.kafka import Kafka
from runtime.issuers import Issuer, write_issuers
from runtime.ports import free_port
from runtime.settings import Settings
from schemas.registry import ApiKeyUse, decode_entry
from tests.flow.client import BODY, Caller
from tests.flow.conftest import RunningSystem
from tests.flow.replica import second_api
from tests.integration.kafka_tools import eventually, read_all
from tests.issued_tokens import (
    ATTACKS,
    AUDIENCE,
    ED_JWK,
    ISSUER,
    OTHER_ED,
    ed_jwk,
    jwks,
    signed,
    truly_signed,
)
from tests.jwks_server import JwksServer, jwks_server, wait_until

PARTITIONS = 12
MAX_HEAD_BYTES = 16_384
NEVER_REACHED = "https://never-reached.example/"
BAD_TOKEN = 'Bearer realm="lockstream", error="invalid_token"'


@pytest.fixture(scope="module")
def issuer() -> Iterator[JwksServer]:
    with jwks_server(jwks(ED_JWK)) as server:
        yield server


@pytest.fixture
def healthy_issuer(issuer: JwksServer) -> Iterator[JwksServer]:
    """As the test finds it, and as the next one must."""
    yield issuer
    issuer.delay_s, issuer.status, issuer.headers = 0.0, 200, {}


@pytest.fixture(scope="module")
def system(issuer: JwksServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    issuers = [
        Issuer(issuer=ISSUER, audience=AUDIENCE, jwks=issuer.url),
        Issuer(
            issuer=NEVER_REACHED, audience=AUDIENCE, jwks=f"http://127.0.0.1:{free_port(0)}/jwks"
        ),
    ]
    system = RunningSystem(
        tmp_path_factory.mktemp("access") / "state",
        {"LOCKSTREAM_JWT_ISSUERS": write_issuers(issuers)},
    )
    system.start()
    yield system
    system.end()


@pytest.fixture(scope="module")
def second_url(system: RunningSystem) -> Iterator[str]:
    with second_api(system) as replica:
        yield replica.url


@pytest.fixture
def callers(system: RunningSystem, second_url: str) -> Iterator[list[Caller]]:
    """One for each replica."""
    callers = [Caller(system.env), Caller({**system.env, "BASE_URL": second_url})]
    yield callers
    for caller in callers:
        caller.close()


def within_5_s(condition: Callable[[], bool]) -> None:
    wait_until(condition, 5.0)


def statuses(callers: list[Caller], api_key: str) -> list[int]:
    return [c.get("/locks/123", {"X-API-Key": api_key}).status_code for c in callers]


def bearer(token: str) -> dict[str, str | None]:
    return {"Authorization": f"Bearer {token}"}


def kafka_of(system: RunningSystem) -> Kafka:
    servers = system.env["KAFKA_BOOTSTRAP_SERVERS"]
    return Kafka(Settings(kafka_bootstrap_servers=servers), "test")


# -- API keys ------------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_by_every_replica_within_5_seconds(
    system: RunningSystem, callers: list[Caller]
) -> None:
    issued = json.loads(system.lockstream("key", "issue", "--org", "demo", "--json"))
    within_5_s(lambda: statuses(callers, issued["key"]) == [200, 200])
    system.lockstream("key", "revoke", issued["keyId"])
    within_5_s(lambda: statuses(callers, issued["key"]) == [401, 401])
    assert statuses(callers, system.env["API_KEY"]) == [200, 200]


def test_a_rotation_lets_old_and_new_keys_overlap_on_every_replica(
    system: RunningSystem, callers: list[Caller]
) -> None:
    system.lockstream("org", "add", "--id", "rotating")
    old = json.loads(system.lockstream("key", "issue", "--org", "rotating", "--json"))
    new = json.loads(
        system.lockstream("key", "rotate", "--org", "rotating", "--overlap", "7d", "--json")
    )
    assert new["orgId"] == "rotating"
    assert [ended["keyId"] for ended in new["ending"]] == [old["keyId"]]
    assert new["key"] != old["key"]
    # 404: admitted, and no lock of theirs.
    within_5_s(lambda: statuses(callers, new["key"]) == [404, 404])
    assert statuses(callers, old["key"]) == [404, 404]


def test_a_rotated_key_ends_with_its_overlap_and_not_before(
    system: RunningSystem, callers: list[Caller]
) -> None:
    system.lockstream("org", "add", "--id", "rotated")
    old = json.loads(system.lockstream("key", "issue", "--org", "rotated", "--json"))
    within_5_s(lambda: statuses(callers, old["key"]) == [404, 404])
    begun = time.time()
    new = json.loads(
        system.lockstream("key", "rotate", "--id", old["keyId"], "--overlap", "4s", "--json")
    )
    wait_until(lambda: statuses(callers, old["key"]) == [401, 401], 20)
    assert time.time() > begun + 4
    within_5_s(lambda: statuses(callers, new["key"]) == [404, 404])
    refused = system.try_lockstream("key", "rotate", "--id", old["keyId"])
    assert (refused.returncode, "revoked or expired" in refused.stderr) == (2, True)


async def test_the_last_use_of_a_key_is_listed_and_written_once_a_minute(
    system: RunningSystem, callers: list[Caller]
) -> None:
    issued = json.loads(system.lockstream("key", "issue", "--org", "demo", "--json"))

    def listed() -> dict[str, object]:
        keys = json.loads(system.lockstream("key", "list", "--org", "demo", "--json"))
        found: dict[str, object] = next(e for e in keys if e["keyId"] == issued["keyId"])
        return found

    assert listed()["lastUsedAt"] is None
    wait_until(lambda: statuses(callers, issued["key"]) == [200, 200])
    for _ in range(20):
        statuses(callers, issued["key"])
    wait_until(lambda: listed()["lastUsedAt"] is not None, 30)
    assert listed()["live"] is True
    records = await read_all(kafka_of(system), "registry", 1)
    entries = [decode_entry(r.value) for r in records if r.value is not None]
    uses = [e for e in entries if isinstance(e, ApiKeyUse) and e.key_id == issued["keyId"]]
    assert 1 <= len(uses) <= 2  # one from each replica at most


# -- issuers -------------------------------------------------------------------------------------


def test_a_key_rotated_in_fails_no_request_and_a_failing_issuer_harms_no_known_key(
    healthy_issuer: JwksServer, callers: list[Caller]
) -> None:
    issuer = healthy_issuer
    for caller in callers:
        assert caller.use(headers=bearer(signed())).status_code == 200
    issuer.document = jwks(ED_JWK, ed_jwk(OTHER_ED, "next"))
    issuer.delay_s = 0.3
    for caller in callers:
        assert caller.use(headers=bearer(signed(OTHER_ED, "EdDSA", "next"))).status_code == 200
    issuer.delay_s, issuer.status = 0.0, 500
    before = len(issuer.fetched)
    for caller in callers:
        for i in range(20):
            answer = caller.use(headers=bearer(signed(OTHER_ED, "EdDSA", f"unknown-{i}")))
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
            assert caller.use(headers=bearer(signed())).status_code == 200
    assert len(issuer.fetched) - before <= 2 * 10


def test_tokens_with_unknown_keys_are_401_and_make_few_fetches(
    healthy_issuer: JwksServer, callers: list[Caller]
) -> None:
    caller = callers[0]
    # After a failure the issuer is asked again within 10 s.
    wait_until(
        lambda: caller.use(headers=bearer(signed(OTHER_ED, "EdDSA", "unknown"))).status_code == 401,
        30,
    )
    before = len(healthy_issuer.fetched)
    for i in range(50):
        answer = caller.use(headers=bearer(signed(OTHER_ED, "EdDSA", f"stranger-{i}")))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, BAD_TOKEN)
    assert len(healthy_issuer.fetched) - before <= 10


def test_tokens_of_an_issuer_that_was_never_reached_are_503(callers: list[Caller]) -> None:
    for caller in callers:
        answer = caller.use(headers=bearer(signed(iss=NEVER_REACHED)))
        assert (answer.status_code, answer.json()["code"]) == (503, 503)
        assert int(answer.headers["retry-after"]) >= 1
        assert "www-authenticate" not in answer.headers


async def test_no_attack_gets_in_and_nothing_is_recorded(
    system: RunningSystem, healthy_issuer: JwksServer, callers: list[Caller]
) -> None:
    caller, url = callers[0], f"{callers[0].env['BASE_URL']}/locks/123/use-temp-key"
    kafka = kafka_of(system)
    facts = len(await read_all(kafka, "lock-facts", PARTITIONS))
    tokens = {name: make() for name, make in ATTACKS.items()}
    for name in ("jku", "x5u"):
        header = {"alg": "EdDSA", "kid": "theirs", name: healthy_issuer.url + "/theirs"}
        tokens[f"{name} of a server that answers"] = truly_signed(header)
    async with httpx.AsyncClient(timeout=20) as client:
        for name, token in tokens.items():
            headers = {
                b"Authorization": b"Bearer " + token.encode(),
                b"X-API-Key": caller.env["API_KEY"].encode(),
            }
            answer = await client.post(url, json=BODY, headers=headers)
            if len(token) > MAX_HEAD_BYTES:
                assert (name, answer.status_code) == (name, 431)
                continue
            assert (name, answer.status_code) == (name, 401)
            assert answer.headers["www-authenticate"] == BAD_TOKEN
            assert answer.json()["code"] == 401
    assert not [path for path in healthy_issuer.fetched if path != "/jwks"]
    assert len(await read_all(kafka, "lock-facts", PARTITIONS)) == facts


# -- the recorded actor --------------------------------------------------------------------------


async def test_the_event_says_who_asked_and_the_partners_record_does_not(
    system: RunningSystem, callers: list[Caller]
) -> None:
    key_id = system.env["API_KEY"].split("_")[2]
    user, service = f"user-{uuid.uuid4()}", f"service-{uuid.uuid4()}"
    tokens = {
        user: system.lockstream("token", "mint", "--sub", user).strip(),
        service: system.lockstream("token", "mint", "--sub", service, "--org", "demo").strip(),
    }
    recorded = {
        subject: callers[0].use(headers=bearer(token)).json()["event"]["id"]
        for subject, token in tokens.items()
    }
    events = {e["eventId"]: e for e in map(json.loads, system.lockstream("replay").splitlines())}
    for subject, kind in ((user, "user"), (service, "service")):
        assert events[recorded[subject]]["actor"] == {
            "kind": kind, "subject": subject, "orgId": "demo", "keyId": key_id,
        }  # fmt: skip
    kafka, topic = kafka_of(system), system.env["PARTNER_TOPIC"]

    async def delivered() -> bool:
        values = [r.value or b"" for r in await read_all(kafka, topic, PARTITIONS)]
        return all(any(i.encode() in value for value in values) for i in recorded.values())

    await eventually(delivered)
    for record in await read_all(kafka, topic, PARTITIONS):
        shown = (record.value or b"") + b"".join(value for _, value in record.headers)
        for secret in (user, service, key_id, "actor"):
            assert secret.encode() not in shown
    seen_by_caller = callers[0].get("/locks/123/events?limit=1000").text
    assert user not in seen_by_caller
    assert key_id not in seen_by_caller
