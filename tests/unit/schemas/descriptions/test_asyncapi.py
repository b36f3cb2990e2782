"""``/asyncapi.json`` is valid by AsyncAPI's own schema, and describes the topics as they are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas.descriptions.asyncapi import asyncapi_document, partner_asyncapi_document
from schemas.descriptions.published import PUBLISHED
from schemas.topic_configs import AS_SHIPPED, lock_topics, partner_topic, replay_topic
from schemas.topics import LockTopics

ASYNCAPI_SCHEMA = Path(__file__).parents[3] / "vendor" / "asyncapi-3.0.0.json"
TOPICS = LockTopics("t.", 5)
DOCUMENT = asyncapi_document("1.2.3", TOPICS, replicas=3)


@pytest.fixture(scope="module")
def asyncapi() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads(ASYNCAPI_SCHEMA.read_bytes()))


def test_it_is_asyncapi_3_0(asyncapi: jsonschema.Draft7Validator) -> None:
    asyncapi.validate(DOCUMENT)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d["channels"]["lockFacts"].update(adress="x"),
        lambda d: d["channels"]["lockFacts"]["bindings"]["kafka"].update(partitions=0),
        lambda d: d["operations"]["readFacts"].update(action="consume"),
        lambda d: d["components"]["schemas"]["Actor"].update(type="struct"),
        lambda d: d["components"]["messages"]["tempKeyUsed"]["bindings"]["kafka"].update(key=7),
    ],
)
def test_what_is_not_asyncapi_is_noticed(asyncapi: jsonschema.Draft7Validator, spoil: Any) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        asyncapi.validate(document)


# -- what a partner is given -----------------------------------------------------------------------

FOR_ALL = partner_asyncapi_document("1.2.3", TOPICS, 3, AS_SHIPPED, "")
FOR_ONE = partner_asyncapi_document(
    "1.2.3", TOPICS, 3, AS_SHIPPED, "kafka.example:9093,[::1]:9093", "acme"
)


@pytest.mark.parametrize("document", [FOR_ALL, FOR_ONE], ids=["all", "one"])
def test_partners_get_a_document_of_their_own_with_nothing_internal(
    asyncapi: jsonschema.Draft7Validator, document: Any
) -> None:
    asyncapi.validate(document)
    text = json.dumps(document)
    internal = ("lock-facts", "registry", "projector", "fanout", "parked", "Actor", "sha256")
    assert [name for name in internal if name in text] == []
    assert set(document["channels"]) == {"partnerEvents"}
    for reference in references(document):
        assert resolved(reference, document)


def test_a_partners_document_says_where_and_what_it_may_read() -> None:
    assert [server["host"] for server in FOR_ONE["servers"].values()] == [
        "kafka.example:9093",
        "[::1]:9093",
    ]
    channel = FOR_ONE["channels"]["partnerEvents"]
    assert channel["address"] == TOPICS.partner_events("acme")
    group = FOR_ONE["operations"]["readEvents"]["bindings"]["kafka"]["groupId"]["pattern"]
    allowed = ("t.acme", "t.acme.reader", "t.acmex", "t.acme-b", "acme", "t.other")
    assert [name for name in allowed if re.match(group, name)] == ["t.acme", "t.acme.reader"]


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def resolved(reference: str, document: Any = DOCUMENT) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        assert resolved(reference)


def test_the_channels_are_the_topics_as_they_are_made() -> None:
    topics = [
        *lock_topics(TOPICS),
        partner_topic(TOPICS, "{partnerId}"),
        replay_topic(TOPICS, "{partnerId}", "{replay}"),
    ]
    channels = {channel["address"]: channel for channel in DOCUMENT["channels"].values()}
    assert set(channels) == {topic.name for topic in topics}
    for topic in topics:
        kafka = channels[topic.name]["bindings"]["kafka"]
        assert (kafka["partitions"], kafka["replicas"]) == (topic.partitions, 3)
        config = kafka["topicConfiguration"]
        assert config["cleanup.policy"] == [topic.config.get("cleanup.policy", "delete")]
        assert str(config["retention.ms"]) == topic.config["retention.ms"]


def test_the_groups_are_those_that_the_services_join() -> None:
    operations = DOCUMENT["operations"]
    projector = operations["readFacts"]["bindings"]["kafka"]["groupId"]
    assert projector["enum"] == [TOPICS.group("projector")]
    fanout = operations["fanOutEvents"]["bindings"]["kafka"]["groupId"]
    assert re.match(fanout["pattern"], TOPICS.group("fanout.acme-crm"))
    assert re.match(fanout["pattern"], TOPICS.replay_group("acme-crm", 12))
    assert not re.match(fanout["pattern"], "txfanout.acme-crm")


@pytest.mark.parametrize("name", DOCUMENT["components"]["messages"])
def test_examples_are_of_their_schemas(name: str) -> None:
    message = DOCUMENT["components"]["messages"][name]
    assert message["examples"]
    for example in message["examples"]:
        for part in ("headers", "payload"):
            assert (part in example) == (part in message)
            if part in message:
                schema = {**message[part], "components": DOCUMENT["components"]}
                jsonschema.Draft7Validator(
                    schema, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
                ).validate(example[part])


def test_every_published_schema_is_described_and_valid_by_itself() -> None:
    assert len({schema.name for schema in PUBLISHED}) == len(PUBLISHED)
    for published in PUBLISHED:
        assert published.type.__name__ in DOCUMENT["components"]["schemas"]
        schema = json.loads(json.dumps(published.json_schema()))
        jsonschema.Draft202012Validator.check_schema(schema)
        assert "\\Z" not in json.dumps(schema)
