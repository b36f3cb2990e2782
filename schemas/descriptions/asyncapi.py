"""Makes ``/asyncapi.json``: AsyncAPI 3.0 with the Kafka bindings (0.5.0), from the records' own
types."""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.descriptions.messages import MESSAGES, Example, Message
from schemas.descriptions.published import PUBLISHED
from schemas.json_schemas import Json, header_schema, schema_components
from schemas.primitives import NAME_PATTERN
from schemas.topic_configs import (
    AS_SHIPPED,
    Retentions,
    Topic,
    lock_topics,
    partner_topic,
    replay_topic,
)
from schemas.topics import LockTopics

BINDING_VERSION = "0.5.0"
_NAME = NAME_PATTERN.removeprefix("^").removesuffix(r"\Z")
_PARTNER_ID, _REPLAY_NUMBER = "{partnerId}", "{replay}"
_JSON, _BYTES = "application/json", "application/octet-stream"
_SEND, _RECEIVE = "send", "receive"


class _Channel(msgspec.Struct, frozen=True):
    """Describes a topic. ``name``: in the document; ``messages``: those of ``MESSAGES`` that it
    holds."""

    name: str
    title: str
    description: str
    messages: tuple[str, ...]


_FACTS = _Channel(
    "lockFacts",
    "Facts",
    "What happened, as recorded, before it has a version. Written by the command API and other "
    "trusted services. Reading is strict: a record with a field that nobody knows is parked.",
    ("lockCreated", "organizationSet", "tempKeyUsed"),
)
_EVENTS = _Channel(
    "lockEvents",
    "Events",
    "The lock event stream: every accepted fact once, with its version. Kept for ever. Read it "
    "with `isolation.level=read_committed`; bear fields and types that a later version adds.",
    ("lockCreatedEvent", "organizationSetEvent", "tempKeyUsedEvent"),
)
_PARKED = _Channel(
    "parkedFacts",
    "Parked facts",
    "Facts that can't become events: the original bytes, with headers that say why and where from.",
    ("parkedFact",),
)
_PARTNER = _Channel(
    "partnerEvents",
    "A partner's events",
    "The events of one partner's organisation that its subscription names, as binary-mode "
    "CloudEvents. Read it with `isolation.level=read_committed` and `auto.offset.reset=earliest`; "
    "your consumer group is called as your partner id, or begins with it and a dot. The header "
    "`sequence` counts 1, 2, 3 … in each partition: who sees no gap has missed nothing.",
    ("partnerEvent",),
)
_REPLAY = _Channel(
    "partnerReplay",
    "A partner's events once more",
    "A stretch of a partner's events, as its operator has asked for them: the same records, with a "
    "`sequence` of their own in each partition, and behind the last one an end marker that says "
    "how many there were. Read it as the partner's own topic.",
    ("partnerEvent", "replayEnded"),
)
_REGISTRY = _Channel(
    "registry",
    "Registry",
    "Organisations, API keys (hashes only), partners, what operators have decided about parked "
    "facts, the number of lanes, and the key of positions; the latest record of a key counts.",
    (
        *("organization", "apiKey", "apiKeyUse", "partner", "parkedDiscard", "parkedRepair"),
        *("replay", "lanes", "positionKey"),
    ),
)


def asyncapi_document(
    version: str, names: LockTopics, replicas: int, keep: Retentions = AS_SHIPPED
) -> Json:
    """Describes the topics of this installation, each kept ``replicas`` times, and for as long as
    ``keep`` says. ``version`` is the product's."""
    topics = {topic.name: topic for topic in lock_topics(names, keep)}
    projector: Json = {"enum": [names.group("projector")]}
    fanout: Json = {
        "pattern": f"^{re.escape(names.group('fanout.'))}{_NAME}(/replay\\.[1-9][0-9]*)?$",
        "description": f"{names.group('fanout.<partnerId>')}, and `/replay.<number>` for a replay",
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lockstream topics",
            "version": version,
            "description": "What Lockstream writes to Kafka and reads from it. Values are UTF-8 "
            "JSON. Header values are UTF-8 text, numbers in ASCII decimal. The key of every lock "
            "record is the lock ID in ASCII decimal, and the partition is Kafka's own default for "
            "that key, so all records of a lock are in order.",
        },
        "defaultContentType": "application/json",
        "channels": {
            _FACTS.name: _channel(_FACTS, topics[names.lock_facts], replicas),
            _EVENTS.name: _channel(_EVENTS, topics[names.lock_events], replicas),
            _PARTNER.name: {
                **_channel(_PARTNER, partner_topic(names, _PARTNER_ID, keep.partner_ms), replicas),
                "parameters": {"partnerId": {"description": "As it was registered"}},
            },
            _REPLAY.name: {
                **_channel(_REPLAY, replay_topic(names, _PARTNER_ID, _REPLAY_NUMBER), replicas),
                "parameters": {
                    "partnerId": {"description": "As it was registered"},
                    "replay": {"description": "1, 2, 3 … of the partner's"},
                },
            },
            _PARKED.name: _channel(_PARKED, topics[names.parked_facts], replicas),
            _REGISTRY.name: _channel(_REGISTRY, topics[names.registry], replicas),
        },
        "operations": {
            "publishFacts": _operation(_SEND, _FACTS, "The command API records what happened"),
            "readFacts": _operation(
                _RECEIVE, _FACTS, "The projector gives facts their versions", projector
            ),
            "publishEvents": _operation(_SEND, _EVENTS, "The projector, one writer per partition"),
            "fanOutEvents": _operation(
                _RECEIVE, _EVENTS, "The fan-out, one group per partner", fanout
            ),
            "answerCommands": _operation(
                _RECEIVE, _EVENTS, "The command API reads every partition, without a group"
            ),
            "deliverToPartner": _operation(_SEND, _PARTNER, "The fan-out, exactly once, in order"),
            "replayToPartner": _operation(
                _SEND, _REPLAY, "The fan-out, exactly once, in order, up to the end marker"
            ),
            "parkFacts": _operation(_SEND, _PARKED, "The projector, in the events' transaction"),
            "writeRegistry": _operation(
                _SEND,
                _REGISTRY,
                "The `lockstream` command; of uses, the command API; of replays' ends, the fan-out",
            ),
            "followRegistry": _operation(
                _RECEIVE, _REGISTRY, "The command API and the fan-out, without a group"
            ),
        },
        "components": {
            "messages": {name: _message(name, message) for name, message in MESSAGES.items()},
            "schemas": _schemas(),
        },
    }


def partner_asyncapi_document(
    version: str,
    names: LockTopics,
    replicas: int,
    keep: Retentions,
    servers: str,
    partner_id: str | None = None,
) -> Json:
    """Describes for a partner's engineer what that partner reads, and nothing else of the
    installation. ``keep``: for how long; ``servers``: host:port,… as partners reach them, empty if
    that is not known; ``partner_id``: None for a document that fits all."""
    topic = partner_topic(names, partner_id or _PARTNER_ID, keep.partner_ms)
    channel = _channel(_PARTNER, topic, replicas)
    group = names.group(partner_id) if partner_id is not None else names.group("<partnerId>")
    own = re.escape(names.group(partner_id)) if partner_id is not None else _NAME
    messages = {name: _message(name, MESSAGES[name]) for name in _PARTNER.messages}
    document: Json = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lockstream events for partners",
            "version": version,
            "description": "What a partner reads from Kafka. Values are UTF-8 JSON. Header values "
            "are UTF-8 text, numbers in ASCII decimal. The key is the lock ID in ASCII decimal; "
            "all records of a lock are in one partition, in order. Log in with the user and the "
            "password that you were given. Fields, headers and types are only ever added.",
        },
        "defaultContentType": "application/json",
        "servers": {
            f"broker{number}": {
                "host": server,
                "protocol": "kafka-secure",
                "description": "SASL_SSL",
                "security": [_ref("components/securitySchemes", "scram")],
            }
            for number, server in enumerate(filter(None, servers.split(",")), 1)
        },
        "channels": {_PARTNER.name: channel},
        "operations": {
            "readEvents": _operation(
                _RECEIVE,
                _PARTNER,
                "You read them, in a group of yours or in none",
                {"pattern": rf"^{own}(\..+)?$", "description": f"{group}, or {group}.…"},
            )
        },
        "components": {
            "messages": messages,
            "schemas": _reachable(messages, _schemas()),
            "securitySchemes": {
                "scram": {"type": "scramSha512", "description": "Your user and its password"}
            },
        },
    }
    if partner_id is None:
        channel["parameters"] = {"partnerId": {"description": "Your id"}}
    return document


def _reachable(part: Any, schemas: Json) -> Json:
    """Returns those of the schemas that a part of a document refers to, and what they refer to."""
    found: Json = {}
    left = [part]
    while left:
        for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(left.pop())):
            if name not in found:
                found[name] = schemas[name]
                left.append(schemas[name])
    return found


def _channel(channel: _Channel, topic: Topic, replicas: int) -> Json:
    kafka: Json = {
        "partitions": topic.partitions,
        "replicas": replicas,
        "topicConfiguration": _topic_configuration(topic.config),
        "bindingVersion": BINDING_VERSION,
    }
    if _PARTNER_ID not in topic.name:
        kafka["topic"] = topic.name
    return {
        "address": topic.name,
        "title": channel.title,
        "description": channel.description,
        "messages": {name: _ref("components/messages", name) for name in channel.messages},
        "bindings": {"kafka": kafka},
    }


def _topic_configuration(config: Mapping[str, str]) -> Json:
    return {
        "cleanup.policy": [config.get("cleanup.policy", "delete")],
        **{
            name: int(value)
            for name, value in config.items()
            if name in ("retention.ms", "retention.bytes", "max.message.bytes")
        },
    }


def _operation(action: str, channel: _Channel, summary: str, group: Json | None = None) -> Json:
    operation: Json = {
        "action": action,
        "channel": _ref("channels", channel.name),
        "summary": summary,
    }
    if group is not None:
        operation["bindings"] = {
            "kafka": {"groupId": {"type": "string", **group}, "bindingVersion": BINDING_VERSION}
        }
    return operation


def _message(name: str, message: Message) -> Json:
    described: Json = {
        "name": name,
        "summary": message.summary,
        "contentType": _JSON if message.payload else _BYTES,
        "bindings": {"kafka": {"key": message.key, "bindingVersion": BINDING_VERSION}},
        "examples": [_example(example) for example in message.examples],
    }
    if message.headers is not None:
        described["headers"] = _schema_ref(message.headers)
    if message.payload is not None:
        described["payload"] = _schema_ref(message.payload)
    return described


def _example(example: Example) -> Json:
    parts = {"headers": _headers_as_json(example.headers), "payload": _as_json(example.payload)}
    return {name: part for name, part in parts.items() if part is not None}


def _as_json(record: msgspec.Struct | None) -> Any:
    return None if record is None else msgspec.json.decode(msgspec.json.encode(record))


def _headers_as_json(headers: msgspec.Struct | None) -> Any:
    if headers is None:
        return None
    named = msgspec.to_builtins(headers, builtin_types=(bytes,))
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in named.items()}


def _schemas() -> Json:
    """Returns all schemas by name, without ``discriminator``: AsyncAPI uses JSON Schema draft 7,
    which has no such keyword. Readers tell the types apart by ``type`` and ``kind``."""
    values = schema_components([s.type for s in PUBLISHED if not s.is_headers])
    headers = {s.type.__name__: header_schema(s.type) for s in PUBLISHED if s.is_headers}
    for schema in headers.values():
        del schema["$schema"]
    without: Json = _without_discriminators({**values, **headers})
    return without


def _without_discriminators(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_discriminators(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {k: _without_discriminators(v) for k, v in schema.items() if k != "discriminator"}


def _schema_ref(type_: type[msgspec.Struct]) -> Json:
    return _ref("components/schemas", type_.__name__)


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/{kind}/{name}"}
