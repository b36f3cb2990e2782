"""``/metrics`` of every role, after real traffic: the figures are what was sent."""

import json
from collections.abc import Callable, Iterable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from eventlog.kafka import Kafka
from runtime.settings import Settings
from schemas.topics import partition_of
from tests.examples_of import temp_key_used
from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.integration.kafka_tools import eventually, write_facts, write_raw

pytestmark = pytest.mark.timeout(240)
PARTITIONS = 12
LOCKS = range(500, 540)
ODD_METHODS = ("PROPFIND", "MKCOL", "REPORT", "PURGE", "LOCK", "SEARCH")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scraped:
    """One answer of ``/metrics``, read by Prometheus' own parser."""

    def __init__(self, text: str) -> None:
        self.samples: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples with at least these labels."""
        wanted = set(labels.items())
        return sum(v for (n, ls), v in self.samples.items() if n == name and wanted <= ls)

    def labels(self, name: str, label: str) -> set[str]:
        return {dict(ls)[label] for (n, ls) in self.samples if n == name and label in dict(ls)}

    @property
    def series(self) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        return set(self.samples)


class Roles:
    def __init__(self, system: RunningSystem) -> None:
        ports = json.loads((system.folder / "ports.json").read_text())
        self._pages = {role: f"http://127.0.0.1:{port}/metrics" for role, port in ports.items()}

    def scrape(self, role: str) -> Scraped:
        answer = httpx.get(self._pages[role])
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return Scraped(answer.text)

    async def until(self, role: str, name: str, value: float, **labels: str) -> Scraped:
        """A scrape in which the metric has the value."""
        return await self._until(role, lambda found: found == value, name, value, labels)

    async def at_least(self, role: str, name: str, value: float, **labels: str) -> Scraped:
        return await self._until(role, lambda found: found >= value, name, value, labels)

    async def _until(
        self,
        role: str,
        holds: Callable[[float], bool],
        name: str,
        value: float,
        labels: dict[str, str],
    ) -> Scraped:
        last: list[Scraped] = []

        async def reached() -> bool:
            last[:] = [self.scrape(role)]
            return holds(last[0].value(name, **labels))

        try:
            await eventually(reached)
        except TimeoutError:
            pytest.fail(f"{role}: {name}{labels} is {last[0].value(name, **labels)}, not {value}")
        return last[0]


def add_locks(system: RunningSystem, ids: Iterable[int]) -> None:
    file = system.folder / "locks.csv"
    file.write_text("id,org\n" + "".join(f"{lock_id},demo\n" for lock_id in ids))
    system.lockstream("lock", "import", str(file))


async def test_the_metrics_of_every_role_say_what_was_sent(own_system: RunningSystem) -> None:
    own_system._environment["LOCKSTREAM_ANSWER_TIMEOUT"] = "20"
    own_system.start()
    add_locks(own_system, LOCKS)
    env, roles, caller = own_system.env, Roles(own_system), Caller(own_system.env)
    locks = len(LOCKS) + 1
    await roles.until("fanout", "lockstream_records_written_total", locks, partner="demo-partner")
    answered = "http_server_request_duration_seconds_count"
    shown = {"http_route": "/locks/{id}", "http_response_status_code": "200"}
    # `up` has asked for the demo's lock, to see whether its key is admitted.
    shown_before = roles.scrape("api").value(answered, **shown)

    for lock_id in LOCKS:
        body = {"tempKeyUuid": f"key-{lock_id}", "userId": f"user-{lock_id}"}
        assert caller.use(lock_id, body, key=f"opening-{lock_id}").status_code == 200
    replays = [caller.use(500, {"tempKeyUuid": "key-500", "userId": "user-500"}, key="opening-500")]
    assert replays[0].headers["idempotent-replayed"] == "true"
    assert caller.use(999_999).status_code == 404
    assert caller.use("x").status_code == 400
    assert caller.use(headers={"Authorization": None}).status_code == 401
    assert caller.use(content=b"x" * 20_000).status_code == 413
    assert caller.get("/locks/500").status_code == 200
    assert caller.get("/no/such/page").status_code == 404
    assert caller.request("PROPFIND", "/locks/123/use-temp-key").status_code == 405
    caller.close()
    kafka = Kafka(Settings(kafka_bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"]), "test")
    await write_raw(kafka, "lock-facts", 0, b"1", b"not JSON")
    await write_facts(kafka, "lock-facts", PARTITIONS, [temp_key_used(lock_id=888_888)] * 2)

    sent = len(LOCKS)
    api = roles.scrape("api")
    outcomes = {
        "recorded": sent, "replayed": 1, "not-found": 1, "invalid": 1, "unauthenticated": 1,
        "too-large": 1,
    }  # fmt: skip
    for outcome, commands in outcomes.items():
        assert api.value("lockstream_commands_total", outcome=outcome) == commands, outcome
    assert api.value("lockstream_commands_total") == sum(outcomes.values())
    assert api.value("lockstream_facts_published_total", type="TempKeyUsed") == sent
    assert api.value("lockstream_publish_wait_seconds_count") == sent
    assert api.value("lockstream_version_wait_seconds_count") == sent
    assert 0 < api.value("lockstream_version_wait_seconds_sum") < sent * 20
    command = {"http_request_method": "POST", "http_route": "/locks/{id}/use-temp-key"}
    assert api.value(answered, **command, http_response_status_code="200") == sent + 1
    assert api.value(answered, **shown) == shown_before + 1
    assert api.value(answered, http_route="unmatched", http_response_status_code="404") == 1
    assert api.value(answered, http_request_method="_OTHER", http_response_status_code="405") == 1
    assert api.value("http_server_active_requests") == 0
    assert 0 <= api.value("lockstream_jwks_age_seconds") < 240
    assert api.value("lockstream_commands_waiting") == 0

    written = locks + sent
    projector = await roles.until("projector", "lockstream_decisions_total", 3, decision="parked")
    assert projector.value("lockstream_events_total", type="TempKeyUsed") == sent
    assert projector.value("lockstream_events_total", type="LockCreated") == locks
    assert projector.value("lockstream_facts_total", type="TempKeyUsed") == sent + 2
    assert projector.value("lockstream_facts_total", type="undecodable") == 1
    decisions = "lockstream_decisions_total"
    assert projector.value(decisions, decision="recorded") == written
    assert projector.value(decisions, decision="parked", reason="undecodable") == 1
    assert projector.value(decisions, decision="parked", reason="unknown-lock") == 2
    assert projector.value("lockstream_records_written_total", stage="projector") == written + 3
    assert projector.value("lockstream_transaction_records_sum", stage="projector") == written + 3
    transactions = projector.value("lockstream_transaction_duration_seconds_count")
    assert 0 < transactions <= written + 3
    fences = projector.value("lockstream_fences_total", stage="projector")
    assert fences >= PARTITIONS
    assert projector.value("lockstream_restore_duration_seconds_count") == fences

    fanout = await roles.until(
        "fanout", "lockstream_records_written_total", written, partner="demo-partner"
    )
    assert fanout.value("lockstream_records_read_total", partner="demo-partner") == written
    assert fanout.labels("lockstream_lag_records", "partition") == set(map(str, range(PARTITIONS)))
    for role in ("projector", "fanout"):
        at_rest = await roles.until(role, "lockstream_lag_records", 0)
        assert at_rest.value("lockstream_lag_seconds") == 0
        assert at_rest.value("lockstream_stage_restarts_total") == 0
        assert at_rest.value("lockstream_partition_stopped") == 0
    # Nobody reads for the demo's partner. Asked for every 15 s.
    partner = await roles.until(
        "fanout", "lockstream_partner_unread_records", written, partner="demo-partner"
    )
    assert partner.value("lockstream_partner_undelivered_events", partner="demo-partner") == 0
    assert partner.value("lockstream_partner_groups", partner="demo-partner") == 0
    assert 0 < partner.value("lockstream_partner_unread_seconds") < 240
    retained_s = partner.value("lockstream_partner_unread_retained_seconds")
    assert 30 * 86_400 - 240 < retained_s < 30 * 86_400
    assert 0 <= partner.value("lockstream_partner_figures_age_seconds") < 60
    at_rest = await roles.until("projector", "lockstream_unfolded_records", 0)
    assert at_rest.value("lockstream_fold_duration_seconds_count") > 0
    for role in ("api", "projector", "fanout"):
        scraped = roles.scrape(role)
        assert scraped.value("lockstream_ready") == 1
        assert scraped.value("process_resident_memory_bytes") > 1e7


async def test_a_partner_that_is_paused_or_stopped_can_be_seen(own_system: RunningSystem) -> None:
    own_system.start()
    roles, caller = Roles(own_system), Caller(own_system.env)
    kafka = Kafka(Settings(kafka_bootstrap_servers=own_system.env["KAFKA_BOOTSTRAP_SERVERS"]), "t")
    await roles.at_least("fanout", "lockstream_fences_total", PARTITIONS, partner="demo-partner")
    own_system.lockstream("partner", "pause", "demo-partner")
    assert caller.use().status_code == 200
    caller.close()

    async def gone() -> bool:
        return roles.scrape("fanout").labels("lockstream_lag_records", "partner") == set()

    await eventually(gone)
    own_system.lockstream("partner", "resume", "demo-partner")
    await roles.until("fanout", "lockstream_records_written_total", 2, partner="demo-partner")
    fences = 2 * PARTITIONS
    await roles.at_least("fanout", "lockstream_fences_total", fences, partner="demo-partner")

    other = 1 if partition_of(123, PARTITIONS) == 0 else 0
    for _ in range(3):
        await write_raw(kafka, "lock-events", other, b"1", b"no projector wrote this")
    await roles.until("fanout", "lockstream_partition_stopped", 1, partition=str(other))
    stopped = roles.scrape("fanout")
    assert stopped.value("lockstream_partition_stopped") == 1
    assert stopped.value("lockstream_lag_records", partition=str(other)) >= 1
    assert stopped.value("lockstream_ready") == 0


async def test_the_number_of_series_does_not_grow_with_locks_users_or_paths(
    running_system: RunningSystem,
) -> None:
    roles, caller = Roles(running_system), Caller(running_system.env)

    def traffic(numbers: Iterable[int]) -> None:
        for number in numbers:
            caller.use(number + 10_000, {"tempKeyUuid": f"k{number}", "userId": f"u{number}"})
            caller.use(123, {"tempKeyUuid": f"k{number}", "userId": f"u{number}"})
            caller.get(f"/locks/{number}")
            caller.get(f"/nowhere/{number}")
            caller.request(ODD_METHODS[number % len(ODD_METHODS)], f"/locks/{number}")

    roles.scrape("api")
    traffic(range(6))

    async def partners_are_shown() -> bool:
        shown = roles.scrape("fanout").labels("lockstream_partner_undelivered_events", "partner")
        return shown != set()

    await eventually(partners_are_shown)
    before = {role: roles.scrape(role).series for role in ("api", "projector", "fanout")}
    traffic(range(6, 60))
    caller.close()
    for role, series in before.items():
        grown = roles.scrape(role).series - series
        assert grown == set(), role


@pytest.mark.parametrize("forwarded", ["Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"])
def test_the_metrics_of_the_api_are_not_shown_through_a_proxy(
    running_system: RunningSystem, forwarded: str
) -> None:
    page = running_system.env["BASE_URL"] + "/metrics"
    assert httpx.get(page).status_code == 200
    hidden = httpx.get(page, headers={forwarded: "203.0.113.7"})
    assert (hidden.status_code, hidden.json()["code"]) == (404, 404)


def test_openmetrics_is_spoken_where_it_is_asked_for(running_system: RunningSystem) -> None:
    page = running_system.env["BASE_URL"] + "/metrics"
    answer = httpx.get(page, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
