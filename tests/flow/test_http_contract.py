"""The HTTP contract against the running system: every status, and what stands in the log after."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.flow.client import BODY, Caller
from tests.flow.conftest import RunningSystem


@pytest.fixture
def caller(running_system: RunningSystem) -> Iterator[Caller]:
    caller = Caller(running_system.env)
    yield caller
    caller.close()


def version_of(caller: Caller, lock_id: int = 123) -> int:
    return int(caller.get(f"/locks/{lock_id}").json()["version"])


def test_a_use_is_answered_with_the_locks_next_version_and_the_event(caller: Caller) -> None:
    first, second = caller.use(), caller.use()
    assert first.status_code == second.status_code == 200
    body = second.json()
    assert body["success"] is True
    assert body["version"] == first.json()["version"] + 1
    assert body["aggregateId"] == caller.env["LOCK_UUID"]
    assert second.headers["etag"] == f'"{body["version"]}"'
    assert second.headers["x-request-id"]
    data = body["event"]["data"]
    assert data["usedCount"] == first.json()["event"]["data"]["usedCount"] + 1
    assert set(data) == {
        "type", "lockId", "lockUuid", "tempKeyUuid", "userId", "usedCount", "timestamp",
    }  # fmt: skip
    assert "idempotent-replayed" not in second.headers


def test_a_repeated_key_gets_the_first_answer_and_records_nothing(caller: Caller) -> None:
    key = str(uuid.uuid4())
    first = caller.use(key=key)
    version = version_after(caller, first.json()["version"])
    again, quoted = caller.use(key=key), caller.use(key=f'"{key}"')
    assert first.json() == again.json() == quoted.json()
    assert again.headers["idempotent-replayed"] == quoted.headers["idempotent-replayed"] == "true"
    assert version_of(caller) == version


def version_after(caller: Caller, least: int) -> int:
    return int(caller.get(f"/locks/123?minVersion={least}").json()["version"])


def test_concurrent_repeats_of_a_key_give_one_event_and_equal_answers(caller: Caller) -> None:
    key = str(uuid.uuid4())
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda _: caller.use(key=key), range(50)))
    assert {a.status_code for a in answers} == {200}
    assert len({a.content for a in answers}) == 1
    replayed = [a for a in answers if "idempotent-replayed" in a.headers]
    assert len(replayed) == 49


def test_a_key_reused_for_another_payload_or_lock_is_422(
    caller: Caller, running_system: RunningSystem
) -> None:
    other_lock = 1_000_000 + uuid.uuid4().int % 10**9
    running_system.lockstream("lock", "add", "--id", str(other_lock), "--org", "demo")
    key = str(uuid.uuid4())
    recorded = caller.use(key=key).json()
    version_after(caller, recorded["version"])
    assert caller.use(body={"tempKeyUuid": "other"}, key=key).status_code == 422
    assert caller.use(other_lock, key=key).status_code == 422
    assert version_of(caller) == recorded["version"]
    assert version_of(caller, other_lock) == 1


def test_every_bad_field_is_named_and_nothing_is_recorded(caller: Caller) -> None:
    before = version_of(caller)
    answer = caller.use("zero", {"userID": "x"}, headers={"Idempotency-Key": "x" * 256})
    assert answer.status_code == 400
    body = answer.json()
    assert (body["error"], body["code"]) == ("Bad Request", 400)
    assert {d["field"] for d in body["details"]} == {
        "id", "Idempotency-Key", "userID", "tempKeyUuid",
    }  # fmt: skip
    assert version_of(caller) == before


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        ({"Authorization": None}, 401, 'Bearer realm="lockstream"'),
        ({"Authorization": "Basic x"}, 401, 'Bearer realm="lockstream"'),
        ({"Authorization": "Bearer x.y.z"}, 401, 'error="invalid_token"'),
        ({"X-API-Key": None}, 401, 'ApiKey realm="lockstream"'),
        ({"X-API-Key": "lk_live_wrong"}, 401, 'ApiKey realm="lockstream"'),
    ],
)
def test_both_credentials_are_needed(
    caller: Caller, headers: dict[str, str | None], status: int, challenge: str
) -> None:
    before = version_of(caller)
    answer = caller.use(headers=headers)
    assert answer.status_code == answer.json()["code"] == status
    assert challenge in answer.headers["www-authenticate"]
    assert version_of(caller) == before


def test_a_service_of_another_organisation_is_403(
    caller: Caller, running_system: RunningSystem
) -> None:
    token = running_system.lockstream(
        "token", "mint", "--sub", "s", "--org", "other", "--force"
    ).strip()
    answer = caller.use(headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403
    scoped = running_system.lockstream("token", "mint", "--sub", "s", "--scope", "other").strip()
    answer = caller.use(headers={"Authorization": f"Bearer {scoped}"})
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_another_organisations_lock_can_not_be_told_from_none(
    caller: Caller, running_system: RunningSystem
) -> None:
    running_system.lockstream("lock", "add", "--id", "777", "--org", "stranger", "--force")
    for path in ("/locks/{}", "/locks/{}/events"):
        theirs, none = caller.get(path.format(777)), caller.get(path.format(778))
        assert theirs.status_code == none.status_code == 404
        assert theirs.content == none.content
    theirs, none = caller.use(777), caller.use(778)
    assert theirs.status_code == none.status_code == 404
    assert theirs.content == none.content


def test_methods_sizes_and_media_types_have_their_statuses(caller: Caller) -> None:
    before = version_of(caller)
    wrong_method = caller.get("/locks/123/use-temp-key")
    assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "POST")
    assert wrong_method.json()["code"] == 405
    too_large = caller.use(content=b" " * 16385)
    assert too_large.status_code == too_large.json()["code"] == 413
    text = caller.use(headers={"Content-Type": "text/plain"})
    assert text.status_code == text.json()["code"] == 415
    packed = caller.use(headers={"Content-Encoding": "gzip"})
    assert packed.status_code == 415
    assert caller.get("/nowhere").json()["code"] == 404
    assert caller.get("/locks/123/").status_code == 404
    assert version_of(caller) == before


def test_a_chunked_body_is_limited_too(running_system: RunningSystem, caller: Caller) -> None:
    import httpx

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 1000

    answer = httpx.post(
        caller.env["BASE_URL"] + "/locks/123/use-temp-key",
        content=chunks(),
        headers={**caller.credentials, "Content-Type": "application/json"},
    )
    assert answer.status_code == 413


def test_a_problem_document_is_sent_to_those_that_ask(caller: Caller) -> None:
    answer = caller.use("x", headers={"Accept": "application/problem+json"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 400


def test_a_lock_waits_for_a_version_and_says_when_it_does_not_come(caller: Caller) -> None:
    version = caller.use().json()["version"]
    lock = caller.get(f"/locks/123?minVersion={version}")
    assert lock.json()["version"] >= version
    assert lock.headers["etag"] == f'"{lock.json()["version"]}"'
    never = caller.get(f"/locks/123?minVersion={version + 1000}")
    assert (never.status_code, never.headers["etag"]) == (412, lock.headers["etag"])


def test_events_are_paged(caller: Caller) -> None:
    version = caller.use().json()["version"]
    version_after(caller, version)
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = caller.get(f"/locks/123/events?afterVersion={after}&limit=2").json()
        seen += [event["version"] for event in page["events"]]
        after = page["nextAfterVersion"]
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) >= version
    assert caller.get("/locks/123/events?limit=0").status_code == 400


def test_an_event_is_found_by_its_id_by_its_own_organisation_only(
    caller: Caller, running_system: RunningSystem
) -> None:
    recorded = caller.use().json()
    found = caller.get(f"/events/{recorded['event']['id']}").json()
    assert found["status"] == "recorded"
    assert found["event"] == recorded["event"]
    assert (found["lockId"], found["version"]) == (123, recorded["version"])
    assert caller.get(f"/events/{uuid.uuid4()}").status_code == 404
    running_system.lockstream("org", "add", "--id", "spy")
    key = running_system.lockstream("key", "issue", "--org", "spy").strip()
    spied = caller.get(f"/events/{recorded['event']['id']}", {"X-API-Key": key})
    assert spied.status_code == 404


def test_a_revoked_key_is_refused_within_seconds(
    caller: Caller, running_system: RunningSystem
) -> None:
    import time

    issued = json.loads(running_system.lockstream("key", "issue", "--org", "demo", "--json"))
    header = {"X-API-Key": issued["key"]}
    deadline = time.monotonic() + 5
    while caller.get("/locks/123", header).status_code != 200:
        assert time.monotonic() < deadline
    running_system.lockstream("key", "revoke", issued["keyId"])
    deadline = time.monotonic() + 5
    while caller.get("/locks/123", header).status_code != 401:
        assert time.monotonic() < deadline


def test_the_description_names_every_path_and_the_page_needs_no_internet(caller: Caller) -> None:
    document = caller.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]["/locks/{id}/use-temp-key"]["post"]["responses"]) == {
        "200", "202", "400", "401", "403", "404", "405", "408", "413", "415", "422", "429", "431",
        "500", "503",
    }  # fmt: skip
    page = caller.get("/docs")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http://" not in page.text.replace(caller.env["BASE_URL"], "")
    assert "https://" not in page.text
    assert caller.get("/docs/swagger-ui-bundle.js").status_code == 200


def test_health_pages_answer_without_credentials(running_system: RunningSystem) -> None:
    import httpx

    base = running_system.env["BASE_URL"]
    assert httpx.get(base + "/livez").status_code == 200
    assert httpx.get(base + "/readyz").json()["status"] == "ready"


def test_the_documented_body_is_enough(caller: Caller) -> None:
    assert caller.use(body={"tempKeyUuid": BODY["tempKeyUuid"]}).status_code == 200
