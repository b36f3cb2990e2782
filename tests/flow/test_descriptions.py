"""What the running system says of itself is true of what it answers and writes."""

import json
import re
from typing import Any

import httpx
import jsonschema

from eventlog.kafka import Kafka
from eventlog.records import Record
from runtime.settings import Settings
from tests.flow.client import Caller
from tests.flow.conftest import RunningSystem
from tests.integration.kafka_tools import eventually, read_all

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_every_described_operation_is_there_and_guarded(running_system: RunningSystem) -> None:
    base = running_system.env["BASE_URL"]
    for path, operations in httpx.get(base + "/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            answer = httpx.request(method, base + re.sub(r"\{\w+\}", "123", path))
            assert answer.status_code == 401, operation["operationId"]


async def test_the_records_are_of_the_schemas_that_asyncapi_gives(
    running_system: RunningSystem,
) -> None:
    env = running_system.env
    caller = Caller(env)
    description = caller.get("/asyncapi.json").json()
    recorded = caller.use(headers={"traceparent": TRACEPARENT}).json()
    caller.use("123", {"tempKeyUuid": "without a user"})
    told = running_system.lockstream(
        *("partner", "replay", "--id", env["PARTNER_ID"], "--from", "earliest", "--json")
    )
    kafka = Kafka(Settings(kafka_bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"]), "test")
    for name, channel in description["channels"].items():
        if name == "parkedFacts":
            continue
        topic = channel["address"].replace("{partnerId}", env["PARTNER_ID"])
        topic = topic.replace("{replay}", str(json.loads(told)["replay"]))
        count = channel["bindings"]["kafka"]["partitions"]
        assert count == await partitions_of(kafka, topic)
        if name == "partnerEvents":
            await eventually(lambda: delivered(kafka, env, recorded["event"]["id"]))
        records = await read_all(kafka, topic, count)
        assert records, topic
        for record in records:
            check(record, channel, description)
    caller.close()


async def partitions_of(kafka: Kafka, topic: str) -> int:
    async with kafka.admin() as admin:
        (described,) = await admin.describe_topics([topic])
        return described.partitions


async def delivered(kafka: Kafka, env: dict[str, str], event_id: str) -> bool:
    records = await read_all(kafka, env["PARTNER_TOPIC"], 12)
    return any(dict(r.headers)["ce_id"].decode() == event_id for r in records)


def check(record: Record, channel: dict[str, Any], description: dict[str, Any]) -> None:
    """The record is one of the channel's messages: key, headers and value, nothing undescribed."""
    errors = []
    for reference in channel["messages"].values():
        message = description["components"]["messages"][reference["$ref"].rpartition("/")[2]]
        try:
            check_message(record, message, description)
        except jsonschema.ValidationError as error:
            errors.append(error)
        else:
            return
    raise AssertionError(f"{record}: {errors}")


def check_message(record: Record, message: dict[str, Any], description: dict[str, Any]) -> None:
    key = None if record.key is None else record.key.decode()
    validate(key, message["bindings"]["kafka"]["key"], description)
    headers: dict[str, Any] = {name: value.decode() for name, value in record.headers}
    named = message.get("headers", {}).get("$ref", "").rpartition("/")[2]
    schema = description["components"]["schemas"].get(named, {})
    assert set(headers) <= set(schema.get("properties", {}))
    for name, value in headers.items():
        if schema["properties"][name].get("type") == "integer":
            headers[name] = int(value)
    validate(headers, schema, description)
    validate(json.loads(record.value or b""), message["payload"], description)


def validate(instance: Any, schema: dict[str, Any], description: dict[str, Any]) -> None:
    whole = {**schema, "components": description["components"]}
    jsonschema.Draft7Validator(
        whole, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
    ).validate(instance)
