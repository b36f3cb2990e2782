"""W3C Trace Context: what is well-formed is carried from hop to hop, and nothing else."""

import pytest

from schemas.lock_events import EventHeaders
from schemas.trace_context import (
    MAX_TRACESTATE,
    TraceContext,
    read_traceparent,
    read_tracestate,
)

IDS = b"4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
GOOD = b"00-" + IDS + b"-01"


@pytest.mark.parametrize(
    ("given", "carried"),
    [
        (GOOD, GOOD),
        (b"cc-" + IDS + b"-01", GOOD),
        (b"cc-" + IDS + b"-01-what-the-future-will-be-like", GOOD),
        (b"01-" + IDS + b"-fe-x", b"00-" + IDS + b"-00"),
        (GOOD + b"-more", None),
        (b"cc-" + IDS + b"-01.more", None),
        (b"ff-" + IDS + b"-01", None),
        (GOOD.upper(), None),
        (GOOD + b"\n", None),
        (b"x" * 1_000_000, None),
    ],
)
def test_of_a_later_version_the_first_four_fields_are_taken(
    given: bytes, carried: bytes | None
) -> None:
    assert read_traceparent(given) == carried


@pytest.mark.parametrize(
    ("given", "carried"),
    [
        (
            b"rojo=00f067aa0ba902b7 ,\t congo=t61",
            b"rojo=00f067aa0ba902b7,congo=t61",
        ),
        (b"fw529a3039@dt=1,,", b"fw529a3039@dt=1"),
        (b"a=X,b=X", b"a=X,b=X"),
        (b"", None),
        (b"a=1\n,b=2", None),
        (b"a=1,a=2", None),
        (b"A=1", None),
        (b"a", None),
        (b"a=\xc3\xa9", None),
        (b"a=" + b"x" * 257, None),
        (b",".join(b"k%d=1" % n for n in range(33)), None),
        (b"a=" + b"x" * 200 + b",b=" + b"y" * 200 + b",c=1,d=" + b"z" * 200, b"c=1"),
    ],
)
def test_a_tracestate_is_valid_and_bounded_or_left_out(given: bytes, carried: bytes | None) -> None:
    assert read_tracestate(given) == carried


def test_from_an_over_long_tracestate_the_last_members_are_left_out() -> None:
    members = [b"k%d=%b" % (n, b"v" * 100) for n in range(8)]
    carried = read_tracestate(b",".join(members))
    assert carried == b",".join(members[:4])


def test_a_trace_goes_with_its_state_or_not_at_all() -> None:
    whole = TraceContext(GOOD, b"a=1")
    assert TraceContext.of(whole.to_kafka()) == whole
    assert TraceContext.of((("tracestate", b"a=1"),)) == TraceContext()
    assert TraceContext.of((("traceparent", b"x"), ("tracestate", b"a=1"))) == TraceContext()
    assert TraceContext.of((*whole.to_kafka(), ("traceparent", GOOD))) == TraceContext()
    assert TraceContext.read(GOOD, b"=") == TraceContext(GOOD)


def test_an_event_of_before_gives_no_malformed_trace_on() -> None:
    huge = EventHeaders("e", "TempKeyUsed", "acme", 1, 1, b"x" * 900_000)
    assert EventHeaders.from_kafka(huge.to_kafka()).trace == TraceContext()


def test_the_flags_of_a_later_version_are_reduced_to_the_one_we_know() -> None:
    for flags, ours in ((b"00", b"00"), (b"01", b"01"), (b"02", b"00"), (b"ff", b"01")):
        assert read_traceparent(b"0a-" + IDS + b"-" + flags) == b"00-" + IDS + b"-" + ours
        assert read_traceparent(b"00-" + IDS + b"-" + flags) == b"00-" + IDS + b"-" + flags


def test_a_tracestate_is_taken_up_to_its_bounds() -> None:
    most = b",".join(b"k%02d=%b" % (n, b"v" * 10) for n in range(32))
    assert read_tracestate(most) == most
    whole = b"a=" + b"x" * 253 + b",b=" + b"y" * 254
    assert len(whole) == MAX_TRACESTATE
    assert read_tracestate(whole) == whole
    # A byte more, and large members go first: over 128 characters.
    small, large = b"s=" + b"x" * 126, b"l=" + b"x" * 127
    rest = b",".join(b"m%d=%b" % (n, b"y" * 124) for n in range(3))
    assert read_tracestate(b",".join((small, large, rest))) == b",".join((small, rest))
    assert read_tracestate(b"a=1=2") is None
    assert read_tracestate(b" ,\t") is None


def test_a_record_carries_the_state_before_the_parent() -> None:
    assert TraceContext(GOOD, b"a=1").to_kafka() == (("tracestate", b"a=1"), ("traceparent", GOOD))
    assert TraceContext(GOOD).to_kafka() == (("traceparent", GOOD),)
    assert TraceContext().to_kafka() == ()
    assert TraceContext.read(None, b"a=1") == TraceContext()
    assert TraceContext.read(GOOD, None) == TraceContext(GOOD)
    assert TraceContext.read(GOOD, b"a=1") == TraceContext(GOOD, b"a=1")
