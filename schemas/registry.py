"""Defines the topic ``registry``: organisations, API keys, partners, and what operators have
decided about parked facts. Compacted, one partition.

Key: ``org/<id>``, ``key/<keyId>``, ``key-use/<keyId>``, ``partner/<id>``,
``replay/<partnerId>/<number>``, ``parked-discard/<id>``, ``parked-repair/<partition>:<offset>``,
``lanes`` or ``position-key``. Value: one of ``Entry``, UTF-8 JSON. Everything is written by the
``lockstream`` command but for ``ApiKeyUse``, which the API writes, ``LaneCount``, which projector
and fan-out write as they start, and ``PositionKey`` and the end of a ``Replay``, which the fan-out
writes.
"""

from typing import Annotated, Literal

import msgspec

from schemas.lock_facts import MAX_KEY_ID
from schemas.primitives import (
    EventId,
    Name,
    Subject,
    Timestamp,
    WrittenTime,
    read_time,
    write_time,
)
from schemas.undecodable import MAX_NUMBER, Undecodable, decode

MAX_TIME = 64


class _Kind(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename="camel",
    tag_field="kind",
):
    """What all entries have in common on the wire."""


class _Entry(_Kind, frozen=True, kw_only=True):
    created_at: WrittenTime


class Organization(_Entry, frozen=True, kw_only=True, tag="organization"):
    id: Name


class ApiKey(_Entry, frozen=True, kw_only=True, tag="apiKey"):
    """The key itself is shown once and never kept."""

    key_id: str
    org_id: Name
    sha256: Annotated[str, msgspec.Meta(description="Hex digest of the whole key")]
    not_after: WrittenTime | None = None
    revoked_at: WrittenTime | None = None


class ApiKeyUse(_Kind, frozen=True, kw_only=True, tag="apiKeyUse"):
    """When a key was last used, to the minute. A record of its own, so that no replica that notes
    a use can write over a revocation. At most one a minute for each key from each replica, and
    compacted to one."""

    key_id: str
    last_used_at: Timestamp


class PausedAt(msgspec.Struct, frozen=True, rename="camel"):
    """How far a partner's fan-out had come in one partition when it was paused."""

    next_offset: Annotated[int, msgspec.Meta(description="The next of `lock-events` to be read")]
    sequence: Annotated[int, msgspec.Meta(description="Of the last record that it was sent")]
    output_end: Annotated[int, msgspec.Meta(description="Where the partner's topic ended")]


class PartnerCredential(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A user of Kafka's under which a partner logs in. Its password is shown once and never kept
    here. One that is revoked keeps its place, so that no other is given its name."""

    user: str
    issued_at: WrittenTime
    revoked_at: WrittenTime | None = None


class EarlierTypes(msgspec.Struct, frozen=True, rename="camel"):
    """What types of events a partner was sent before they were changed."""

    types: Annotated[tuple[str, ...], msgspec.Meta(description="Event types; `*` for all")]
    until: Annotated[
        tuple[int, ...],
        msgspec.Meta(
            description="Per partition of `lock-events`, the first offset at which they no longer "
            "held"
        ),
    ]


MAX_CHANGES = 500
"""The most changes of its types that an entry holds, so that no record grows too large."""


class Partner(_Entry, frozen=True, kw_only=True, tag="partner"):
    """A removed partner keeps its entry, so that nobody else is given its topic."""

    id: Name
    org_id: Name
    types: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Event types that it is sent since the last change; `*` for all"),
    ]
    start_offsets: Annotated[
        tuple[int, ...],
        msgspec.Meta(description="Per partition of `lock-events`, where its events begin"),
    ]
    status: Literal["active", "paused", "removed"] = "active"
    paused_at: Annotated[
        tuple[PausedAt, ...],
        msgspec.Meta(description="Per partition, since the last pause; empty if there was none"),
    ] = ()
    credentials: Annotated[
        tuple[PartnerCredential, ...], msgspec.Meta(description="Its users, in their order")
    ] = ()
    max_rate: Annotated[
        int | None,
        msgspec.Meta(
            description="Bytes a second that each of its users may read from each broker; null: "
            "as the settings say"
        ),
    ] = None
    retention_ms: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(
            description="Milliseconds that its records are kept; null: as the settings say"
        ),
    ] = None
    earlier: Annotated[
        tuple[EarlierTypes, ...],
        msgspec.Meta(description="What it was sent before, the oldest first"),
    ] = ()

    @property
    def users(self) -> tuple[str, ...]:
        """Returns those of its users that are not revoked."""
        return tuple(one.user for one in self.credentials if one.revoked_at is None)

    def begins(self, partitions: int) -> dict[int, int]:
        """Returns where its events begin in each partition: at 0 where the registration names
        none."""
        offsets = self.start_offsets
        return {p: offsets[p] if p < len(offsets) else 0 for p in range(partitions)}

    def types_at(self, partition: int, offset: int) -> tuple[str, ...]:
        """Returns the types that hold for an event of ``lock-events``."""
        for before in self.earlier:
            if offset < before.until[partition]:
                return before.types
        return self.types


class Replay(_Entry, frozen=True, kw_only=True, tag="replay"):
    """Events that a partner is sent once more, into a topic of their own. It keeps its entry, so
    that no other of this partner is given its number. What the partner was entitled to when it was
    asked for is entitled to here."""

    partner_id: Name
    number: Annotated[int, msgspec.Meta(ge=1, description="1, 2, 3 … of the partner's")]
    org_id: Name
    types: Annotated[tuple[str, ...], msgspec.Meta(description="As a partner's")]
    earlier: Annotated[tuple[EarlierTypes, ...], msgspec.Meta(description="As a partner's")] = ()
    start_offsets: Annotated[
        tuple[int, ...],
        msgspec.Meta(description="Per partition of `lock-events`, where it begins"),
    ]
    end_offsets: Annotated[
        tuple[int, ...],
        msgspec.Meta(description="Per partition of `lock-events`, the first that it leaves out"),
    ]
    status: Literal["running", "ended", "cancelled"] = "running"
    ended_at: WrittenTime | None = None
    counts: Annotated[
        tuple[int, ...],
        msgspec.Meta(description="Per partition, how many events it was sent; empty until its end"),
    ] = ()

    @property
    def as_partner(self) -> Partner:
        """Returns a partner that is entitled to its events, from its beginning on."""
        return Partner(
            id=self.partner_id,
            org_id=self.org_id,
            types=self.types,
            earlier=self.earlier,
            start_offsets=self.start_offsets,
            created_at=self.created_at,
        )


ParkedPlaceText = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9]{1,4}:[0-9]{1,18}\Z",
        description="PARTITION:OFFSET in `lock-facts.parked`",
    ),
]

MAX_PLACES = 1000
"""The most places that one entry holds, so that no record grows too large."""


class ParkedDiscard(_Entry, frozen=True, kw_only=True, tag="parkedDiscard"):
    """An operator's word that these parked facts are not to become events. It stays on record
    when retention has deleted the facts."""

    id: str
    places: Annotated[tuple[ParkedPlaceText, ...], msgspec.Meta(max_length=MAX_PLACES)]
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    by: Subject


class ParkedRepair(_Entry, frozen=True, kw_only=True, tag="parkedRepair"):
    """A parked fact was put back repaired, under another event id, or under its first. The
    latest repair counts."""

    place: ParkedPlaceText
    event_id: EventId
    by: Subject


class LaneCount(_Entry, frozen=True, kw_only=True, tag="lanes"):
    """The number of lanes that the installation works with. While ``unfenced`` names others, the
    change is under way and nobody works."""

    lanes: Annotated[int, msgspec.Meta(ge=1)]
    unfenced: Annotated[
        tuple[int, ...],
        msgspec.Meta(
            description="Earlier numbers whose lanes may still have owners; 0: one of each "
            "partition"
        ),
    ] = ()


class PositionKey(_Entry, frozen=True, kw_only=True, tag="positionKey"):
    """The key under which each record of a partner hides where its event stood. It is made once and
    never changed: without it nobody can tell how far a partner has come."""

    key: Annotated[
        str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z", description="32 random bytes, in hex")
    ]


Entry = (
    Organization
    | ApiKey
    | ApiKeyUse
    | Partner
    | Replay
    | ParkedDiscard
    | ParkedRepair
    | LaneCount
    | PositionKey
)

_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)
_encoder = msgspec.json.Encoder()


def entry_key(entry: Entry) -> bytes:
    match entry:
        case Organization():
            return f"org/{entry.id}".encode()
        case ApiKey():
            return f"key/{entry.key_id}".encode()
        case ApiKeyUse():
            return f"key-use/{entry.key_id}".encode()
        case Partner():
            return f"partner/{entry.id}".encode()
        case Replay():
            return f"replay/{entry.partner_id}/{entry.number}".encode()
        case ParkedDiscard():
            return f"parked-discard/{entry.id}".encode()
        case ParkedRepair():
            return f"parked-repair/{entry.place}".encode()
        case LaneCount():
            return b"lanes"
        case PositionKey():
            return b"position-key"


def decode_entry(value: bytes) -> Entry:
    """Reads one value of the registry.

    Raises:
        Undecodable: not an entry of a known kind, or what it says can't be so.
    """
    entry = decode(_decoder, value)
    wrong = _wrong(entry)
    if wrong is not None:
        raise Undecodable(wrong)
    return entry


def _wrong(entry: Entry) -> str | None:
    """Says what would stop whoever uses the entry. Not in the types: these were published
    without."""
    times: list[str | None]
    match entry:
        case Organization() | ParkedDiscard() | ParkedRepair() | LaneCount() | PositionKey():
            times = [entry.created_at]
        case ApiKeyUse():
            times = [entry.last_used_at]
        case ApiKey():
            times = [entry.created_at, entry.not_after, entry.revoked_at]
            if not entry.sha256.isascii():
                return "its sha256 is no hex digest"
        case Partner():
            times = [entry.created_at]
            for one in entry.credentials:
                times += [one.issued_at, one.revoked_at]
            if not all(0 <= offset <= MAX_NUMBER for offset in entry.start_offsets):
                return "one of its start offsets is none"
            if not all(len(e.until) == len(entry.start_offsets) for e in entry.earlier):
                return "a change of its types names other partitions than its start"
        case Replay():
            times = [entry.created_at, entry.ended_at]
            each = (entry.end_offsets, *(change.until for change in entry.earlier))
            if not all(len(offsets) == len(entry.start_offsets) for offsets in each):
                return "its offsets are not of the same partitions"
            if not all(0 <= n <= MAX_NUMBER for n in (*entry.start_offsets, *entry.end_offsets)):
                return "one of its offsets is none"
    if isinstance(entry, ApiKey | ApiKeyUse) and len(entry.key_id) > MAX_KEY_ID:
        return f"its key id is longer than {MAX_KEY_ID} characters"
    if not all(time is None or _is_time(time) for time in times):
        return "one of its times is none"
    return None


def _is_time(text: str) -> bool:
    try:
        write_time(read_time(text))
    except (ValueError, OverflowError):
        return False
    return len(text) <= MAX_TIME


def encode_entry(entry: Entry) -> bytes:
    return _encoder.encode(entry)
