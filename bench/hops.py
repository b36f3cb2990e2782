"""Makes the latency budget of commands from the spans of their traces. Pure."""

from collections.abc import Iterable, Mapping
from typing import Protocol

REQUEST = "POST /locks/{id}/use-temp-key"
FACT_SENT, FACT_TAKEN = "send lock-facts", "process lock-facts"
EVENT_SENT, EVENT_TAKEN = "send lock-events", "process lock-events"
DELIVERED = "send partner.{partnerId}.lock-events"

ADMITTED = "request received → fact sent"
TO_PROJECTOR = "fact sent → the projector begins its batch"
DECIDED = "→ decided"
COMMITTED = "→ event committed"
ANSWERED = "→ seen by the API's tail, answered"
WHOLE = "all: request received → answered"
ACKNOWLEDGED = "beside it: fact sent → acknowledged by Kafka"
TO_FANOUT = "event committed → the fan-out begins its batch"
TO_PARTNER = "→ partner's record committed"
HOPS = (
    *(ADMITTED, TO_PROJECTOR, DECIDED, COMMITTED, ANSWERED),
    *(WHOLE, ACKNOWLEDGED, TO_FANOUT, TO_PARTNER),
)


class Span(Protocol):
    """What a span has to say. Times in ns since 1970."""

    @property
    def name(self) -> str: ...

    @property
    def trace_id(self) -> str: ...

    @property
    def started_ns(self) -> int: ...

    @property
    def ended_ns(self) -> int: ...


def budget(spans: Iterable[Span]) -> dict[str, list[float]]:
    """Returns seconds by hop, one for each complete trace. Those up to the answer add up to the
    whole."""
    found: dict[str, list[float]] = {hop: [] for hop in HOPS}
    for trace in _by_trace(spans).values():
        for hop, nanoseconds in _hops(trace).items():
            found[hop].append(nanoseconds / 1e9)
    return found


def _by_trace(spans: Iterable[Span]) -> dict[str, dict[str, Span]]:
    traces: dict[str, dict[str, Span]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, {})[unprefixed(span.name)] = span
    return traces


def unprefixed(name: str) -> str:
    """Takes the installation's prefix from a topic: ``send bench1.lock-facts``."""
    verb, _, topic = name.partition(" ")
    for known in ("partner.{partnerId}.lock-events", "lock-facts", "lock-events"):
        if verb in ("send", "process") and topic.endswith(known):
            return f"{verb} {known}"
    return name


def _hops(trace: Mapping[str, Span]) -> dict[str, int]:
    """Returns the hops of a trace; nothing if the trace is not complete."""
    wanted = (REQUEST, FACT_SENT, FACT_TAKEN, EVENT_SENT, EVENT_TAKEN, DELIVERED)
    if any(name not in trace for name in wanted):
        return {}
    request, sent, taken, event, fanout, delivered = (trace[name] for name in wanted)
    return {
        ADMITTED: sent.started_ns - request.started_ns,
        TO_PROJECTOR: taken.started_ns - sent.started_ns,
        DECIDED: event.started_ns - taken.started_ns,
        COMMITTED: event.ended_ns - event.started_ns,
        ANSWERED: request.ended_ns - event.ended_ns,
        WHOLE: request.ended_ns - request.started_ns,
        ACKNOWLEDGED: sent.ended_ns - sent.started_ns,
        TO_FANOUT: fanout.started_ns - event.ended_ns,
        TO_PARTNER: delivered.ended_ns - fanout.started_ns,
    }
