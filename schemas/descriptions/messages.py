"""Lists the messages of the topics: each record type, its headers, its key and examples of it."""

from collections.abc import Mapping

import msgspec

from schemas.descriptions import examples
from schemas.json_schemas import Json
from schemas.lock_events import Event


class Example(msgspec.Struct, frozen=True):
    headers: msgspec.Struct | None
    payload: msgspec.Struct | None


class Message(msgspec.Struct, frozen=True):
    """Describes one record type of a topic, by its examples. ``key``: the schema of its key."""

    summary: str
    key: Json
    examples: tuple[Example, ...]

    @property
    def headers(self) -> type[msgspec.Struct] | None:
        example = self.examples[0].headers
        return None if example is None else type(example)

    @property
    def payload(self) -> type[msgspec.Struct] | None:
        """Returns the type of the value; None: any bytes."""
        example = self.examples[0].payload
        return None if example is None else type(example)


_LOCK_KEY: Json = {
    "type": "string",
    "pattern": "^[1-9][0-9]{0,18}$",
    "description": "The lock ID in ASCII decimal",
}


def _fact(example: msgspec.Struct, summary: str) -> Message:
    return _lock_message(Example(examples.FACT_HEADERS, example), summary=summary)


def _event(example: Event, summary: str) -> Message:
    return _lock_message(Example(examples.event_headers(example), example), summary=summary)


def _lock_message(*shown: Example, summary: str) -> Message:
    return Message(summary=summary, key=_LOCK_KEY, examples=shown)


def _entry(example: msgspec.Struct, kind: str, summary: str) -> Message:
    key: Json = {"type": "string", "pattern": f"^{kind}/.+$", "description": f"`{kind}/<id>`"}
    return Message(summary=summary, key=key, examples=(Example(None, example),))


MESSAGES: Mapping[str, Message] = {
    "lockCreated": _fact(examples.LOCK_CREATED, "A lock is known from now on"),
    "organizationSet": _fact(examples.ORGANIZATION_SET, "A lock belongs to another organisation"),
    "tempKeyUsed": _fact(examples.TEMP_KEY_USED, "A temporary web key opened a lock"),
    "lockCreatedEvent": _event(examples.LOCK_CREATED_EVENT, "A lock's first event"),
    "organizationSetEvent": _event(examples.ORGANIZATION_SET_EVENT, "Its organisation changed"),
    "tempKeyUsedEvent": _event(examples.TEMP_KEY_USED_EVENT, "A temporary web key opened it"),
    "partnerEvent": _lock_message(
        *(Example(examples.partner_headers(record), record) for record in examples.ENVELOPES),
        summary="One event, in the envelope that partners know, without who issued the command",
    ),
    "replayEnded": Message(
        summary="The end marker of a partition of a replay: how many events stand before it",
        key={"type": "null"},
        examples=(
            Example(examples.replay_ended_headers(examples.REPLAY_ENDED), examples.REPLAY_ENDED),
        ),
    ),
    "parkedFact": Message(
        summary="The original key and value, byte for byte; the original headers, then these",
        key={"type": "string", "description": "The original record's"},
        examples=(Example(examples.PARKED_HEADERS, None),),
    ),
    "organization": _entry(examples.ORGANIZATION, "org", "An organisation"),
    "apiKey": _entry(examples.API_KEY, "key", "An organisation's API key, without its secret"),
    "apiKeyUse": _entry(examples.API_KEY_USE, "key-use", "When an API key was last used"),
    "partner": _entry(examples.PARTNER, "partner", "A partner and its subscription"),
    "replay": Message(
        summary="Events that a partner is sent once more, into a topic of their own",
        key={
            "type": "string",
            "pattern": "^replay/[^/]+/[1-9][0-9]*$",
            "description": "`replay/<partnerId>/<number>`",
        },
        examples=(Example(None, examples.REPLAY),),
    ),
    "parkedDiscard": _entry(
        examples.PARKED_DISCARD, "parked-discard", "Parked facts that an operator has discarded"
    ),
    "parkedRepair": _entry(
        examples.PARKED_REPAIR, "parked-repair", "A parked fact that was put back repaired"
    ),
    "lanes": Message(
        summary="How many lanes the stages work with",
        key={"type": "string", "const": "lanes"},
        examples=(Example(None, examples.LANE_COUNT),),
    ),
    "positionKey": Message(
        summary="The key that hides from partners where their events stood",
        key={"type": "string", "const": "position-key"},
        examples=(Example(None, examples.POSITION_KEY),),
    ),
}
