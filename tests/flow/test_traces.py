"""One trace from the request to the partner's record, as a collector sees it."""

import json
import socket
import time
from contextlib import closing

import pytest

from eventlog.kafka import Kafka
from eventlog.records import Record
from runtime.settings import Settings
from schemas.topics import partition_of
from support.collector import Collector, SeenSpan, collecting
from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.integration.kafka_tools import eventually, positions_of, read_all

pytestmark = pytest.mark.timeout(240)
PARTITIONS = 12
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER_SPAN = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE_ID}-{CALLER_SPAN}-01"
HTTP = "POST /locks/{id}/use-temp-key"
NAMES = [
    HTTP,
    "send lock-facts",
    "process lock-facts",
    "send lock-events",
    "process lock-events",
    "send partner.{partnerId}.lock-events",
]


def export_to(system: RunningSystem, endpoint: str, **more: str) -> None:
    system._environment.update(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "LOCKSTREAM_ANSWER_TIMEOUT": "20",
            **more,
        }
    )
    system.start()


async def partner_records(system: RunningSystem, count: int) -> list[Record]:
    """The partner's records of lock 123 once there are so many, the oldest first."""
    env, records = system.env, list[Record]()
    kafka = Kafka(Settings(kafka_bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"]), "test")

    async def delivered() -> bool:
        records[:] = await read_all(kafka, env["PARTNER_TOPIC"], PARTITIONS)
        return len(records) == count

    await eventually(delivered)
    return records


def traceparent_of(record: Record) -> str | None:
    value = dict(record.headers).get("traceparent")
    return value.decode() if value is not None else None


async def whole_trace(collector: Collector, trace_id: str) -> list[SeenSpan]:
    async def complete() -> bool:
        return set(collector.of_trace(trace_id)) == set(NAMES)

    try:
        await eventually(complete)
    except TimeoutError:
        pytest.fail(f"of {NAMES} there are {sorted(collector.of_trace(trace_id))}")
    found = collector.of_trace(trace_id)
    return [found[name] for name in NAMES]


async def test_one_trace_leads_from_the_request_to_the_partners_record(
    own_system: RunningSystem,
) -> None:
    with collecting() as collector:
        export_to(own_system, collector.endpoint)
        caller = Caller(own_system.env)
        answer = caller.use(headers={"traceparent": SAMPLED, "X-Request-Id": "traced"})
        assert answer.status_code == 200
        record = (await partner_records(own_system, 2))[-1]
        spans = await whole_trace(collector, TRACE_ID)

        assert len([s for s in collector.spans if s.trace_id == TRACE_ID]) == len(NAMES)
        parents = [CALLER_SPAN, *(span.span_id for span in spans)]
        assert [span.parent_id for span in spans] == parents[:-1]
        assert traceparent_of(record) == f"00-{TRACE_ID}-{spans[-1].span_id}-01"
        producer, consumer = "PRODUCER", "CONSUMER"
        kinds = ["SERVER", producer, consumer, producer, consumer, producer]
        assert [span.kind for span in spans] == kinds
        services = ["lockstream-api"] * 2 + ["lockstream-projector"] * 2 + ["lockstream-fanout"] * 2
        assert [span.service for span in spans] == services
        assert not any(span.failed for span in spans)
        assert all(span.started_ns <= span.ended_ns for span in spans)

        server, sent_fact, processed, sent_event, fanned_out, delivered = (
            span.attributes for span in spans
        )
        assert server == {
            "http.request.method": "POST",
            "http.route": "/locks/{id}/use-temp-key",
            "http.response.status_code": 200,
            "url.path": "/locks/123/use-temp-key",
            "url.scheme": "http",
        }
        partition = str(partition_of(123, PARTITIONS))

        def messaging(operation: str, topic: str, offset: object) -> dict[str, object]:
            return {
                "messaging.system": "kafka",
                "messaging.operation.name": operation,
                "messaging.operation.type": operation,
                "messaging.destination.name": topic,
                "messaging.destination.partition.id": partition,
                "messaging.kafka.offset": offset,
            }

        fact_offset = sent_fact["messaging.kafka.offset"]
        event_offset = sent_event["messaging.kafka.offset"]
        assert sent_fact == messaging("send", "lock-facts", fact_offset)
        assert processed == {
            **messaging("process", "lock-facts", fact_offset),
            "messaging.consumer.group.name": "projector",
        }
        assert sent_event == messaging("send", "lock-events", event_offset)
        assert fanned_out == {
            **messaging("process", "lock-events", event_offset),
            "messaging.consumer.group.name": "fanout.demo-partner",
        }
        assert delivered == {
            **messaging("send", "partner.demo-partner.lock-events", record.offset),
            "messaging.destination.template": "partner.{partnerId}.lock-events",
        }
        kafka = Kafka(
            Settings(kafka_bootstrap_servers=own_system.env["KAFKA_BOOTSTRAP_SERVERS"]), "test"
        )
        positions = await positions_of(kafka, "registry")
        opened = positions.read(own_system.env["PARTNER_TOPIC"], record)
        assert event_offset == opened.source_offset

        # A caller without a trace begins one; one that asks not to be traced is not.
        assert caller.use(headers={"X-Request-Id": "untraced"}).status_code == 200
        not_sampled = f"00-{'a' * 32}-{CALLER_SPAN}-00"
        assert caller.use(headers={"traceparent": not_sampled}).status_code == 200
        assert caller.use(lock_id=999, headers={"traceparent": SAMPLED}).status_code == 404
        assert caller.get("/readyz").status_code == 200
        caller.close()
        records = await partner_records(own_system, 4)
        begun = traceparent_of(records[2])
        assert begun is not None
        assert begun.endswith("-01")
        await whole_trace(collector, begun.split("-")[1])
        passed_on = traceparent_of(records[3])
        assert passed_on is not None
        assert passed_on.split("-")[1::2] == ["a" * 32, "00"]
        assert own_system.stop() == 0
        assert collector.of_trace("a" * 32) == {}
        # `up` has asked for the demo's lock, to see whether its key is admitted.
        assert {span.name for span in collector.spans} == {*NAMES, "GET /locks/{id}"}
        logged = (own_system.folder / "logs" / "api.log").read_text().splitlines()
        by_request = {line.get("request_id"): line for line in map(json.loads, logged)}
        assert by_request["traced"]["trace_id"] == TRACE_ID
        assert by_request["untraced"]["trace_id"] == begun.split("-")[1]


async def test_a_collector_that_is_away_delays_and_fails_nothing(own_system: RunningSystem) -> None:
    with closing(socket.socket()) as silent:
        # It takes connections, and never answers.
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        queue = {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
        export_to(own_system, f"http://127.0.0.1:{port}", **queue)
        caller = Caller(own_system.env)
        for _ in range(100):
            assert caller.use(headers={"traceparent": SAMPLED}).status_code == 200
        caller.close()
        records = await partner_records(own_system, 101)
        assert {(traceparent_of(r) or "").split("-")[1] for r in records[1:]} == {TRACE_ID}
        begun = time.monotonic()
        assert own_system.stop() == 0
        assert time.monotonic() - begun < 20


async def test_without_a_collector_the_trace_context_is_passed_on_as_it_came(
    own_system: RunningSystem,
) -> None:
    own_system.start()
    caller = Caller(own_system.env)
    traced = {"traceparent": SAMPLED, "tracestate": "congo=t61rcWkgMzE, rojo=1"}
    assert caller.use(headers=traced).status_code in (200, 202)
    caller.close()
    created, used = await partner_records(own_system, 2)
    assert traceparent_of(created) is None
    assert traceparent_of(used) == SAMPLED
    assert dict(used.headers)["tracestate"] == b"congo=t61rcWkgMzE,rojo=1"
