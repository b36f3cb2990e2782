"""Reads W3C Trace Context: what a caller's trace is called, as HTTP and Kafka headers carry it.

Only what is well-formed is passed on. Both headers are bounded: 55 characters and 512.
"""

import re

import msgspec

from schemas.primitives import Headers
from schemas.undecodable import only

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

MAX_TRACESTATE = 512
LARGE_MEMBER = 128
MAX_MEMBERS = 32

_TRACEPARENT = re.compile(
    rb"^(?P<version>(?!ff)[0-9a-f]{2})"
    rb"-(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    rb"(?P<more>-.*)?\Z",
    re.DOTALL,
)
_SAMPLED = 1
_MEMBER = re.compile(
    rb"^([a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]\Z"
)


class TraceContext(msgspec.Struct, frozen=True):
    """Holds what is well-formed. Without a ``traceparent`` there is no ``tracestate`` either."""

    traceparent: bytes | None = None
    tracestate: bytes | None = None

    @classmethod
    def of(cls, headers: Headers) -> "TraceContext":
        """Reads what a record carries; nothing where that is malformed or ambiguous."""
        parent = only(headers, TRACEPARENT)
        return cls.read(parent, only(headers, TRACESTATE)) if parent is not None else NO_TRACE

    @classmethod
    def read(cls, traceparent: bytes | None, tracestate: bytes | None) -> "TraceContext":
        parent = read_traceparent(traceparent) if traceparent is not None else None
        if parent is None:
            return NO_TRACE
        return cls(parent, read_tracestate(tracestate) if tracestate is not None else None)

    def to_kafka(self) -> Headers:
        """Writes headers. ``traceparent`` comes last: the hop that writes the record may put its
        own there."""
        headers: Headers = ()
        if self.tracestate is not None:
            headers += ((TRACESTATE, self.tracestate),)
        if self.traceparent is not None:
            headers += ((TRACEPARENT, self.traceparent),)
        return headers


NO_TRACE = TraceContext()


def read_traceparent(value: bytes) -> bytes | None:
    """Returns the ``traceparent`` in the form of version 00; None if it is malformed. Of a later
    version only the first four fields are taken (section 3.2.4)."""
    match = _TRACEPARENT.match(value)
    if match is None:
        return None
    if match["version"] == b"00":
        return value if match["more"] is None else None
    # Of its flags we know one.
    return b"00-%b-%02x" % (match["ids"], int(match["flags"], 16) & _SAMPLED)


def read_tracestate(value: bytes) -> bytes | None:
    """Returns the list's members, at most 512 characters of them: large ones are left out first,
    then the last ones (section 3.3.1.5). None if a member is malformed or comes twice, or there is
    none."""
    members = [part.strip(b" \t") for part in value.split(b",")]
    members = [member for member in members if member]
    keys = {member.partition(b"=")[0] for member in members}
    if not members or len(keys) < len(members) or len(members) > MAX_MEMBERS:
        return None
    if not all(_MEMBER.match(member) for member in members):
        return None
    if len(b",".join(members)) > MAX_TRACESTATE:
        members = [member for member in members if len(member) <= LARGE_MEMBER]
    while len(b",".join(members)) > MAX_TRACESTATE:
        members.pop()
    return b",".join(members) or None
