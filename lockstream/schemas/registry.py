"""Topic ``registry``: organisations, API keys and partners. Compacted, one partition.

Key: ``org/<id>``, ``key/<keyId>``, ``key-use/<keyId>`` or ``partner/<id>``. Value: one of
``Entry``, UTF-8 JSON. Everything is written by the ``lockstream`` command but for ``ApiKeyUse``,
which the API writes.
"""

from typing import Annotated, Literal

import msgspec

from lockstream.schemas.primitives import Name, Timestamp


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
    created_at: str


class Organization(_Entry, frozen=True, kw_only=True, tag="organization"):
    id: Name


class ApiKey(_Entry, frozen=True, kw_only=True, tag="apiKey"):
    """The key itself is shown once and never kept."""

    key_id: str
    org_id: Name
    sha256: Annotated[str, msgspec.Meta(description="Hex digest of the whole key")]
    not_after: str | None = None
    revoked_at: str | None = None


class ApiKeyUse(_Kind, frozen=True, kw_only=True, tag="apiKeyUse"):
    """When a key was last used, to the minute. A record of its own, so that no replica that notes
    a use can write over a revocation. At most one a minute for each key from each replica, and
    compacted to one."""

    key_id: str
    last_used_at: Timestamp


class Partner(_Entry, frozen=True, kw_only=True, tag="partner"):
    """A removed partner keeps its entry, so that nobody else is given its topic."""

    id: Name
    org_id: Name
    types: Annotated[
        tuple[str, ...], msgspec.Meta(description="Event types that it is sent; `*` for all")
    ]
    start_offsets: Annotated[
        tuple[int, ...],
        msgspec.Meta(description="Per partition of `lock-events`, where its events begin"),
    ]
    status: Literal["active", "paused", "removed"] = "active"


Entry = Organization | ApiKey | ApiKeyUse | Partner

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


def decode_entry(value: bytes) -> Entry:
    """
    Raises:
        msgspec.DecodeError: not an entry of a known kind.
    """
    return _decoder.decode(value)


def encode_entry(entry: Entry) -> bytes:
    return _encoder.encode(entry)
