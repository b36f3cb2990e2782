"""Defines traces: one span for each hop of a command, from its request to the partner's record.

The context travels as ``traceparent`` and ``tracestate`` (W3C Trace Context, level 1; see
``schemas.trace_context``) in HTTP and Kafka headers. Where an OTLP endpoint is configured, each hop
writes its own span into it. Elsewhere it is passed on as it came, and nothing of OpenTelemetry is
imported or started."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol

Attributes = Mapping[str, str | int]
Kind = Literal["server", "producer", "consumer"]


def messaging(operation: str, topic: str, partition: int) -> dict[str, str | int]:
    """Returns the attributes of every messaging span. ``operation``: ``send`` or ``process``, its
    name and type."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
    }


class Span(Protocol):
    @property
    def traceparent(self) -> bytes | None:
        """The context that the next hop gets."""

    def end(
        self, attributes: Attributes, *, name: str | None = None, error: str | None = None
    ) -> None:
        """Ends the span. ``name``: a better one than at the start; ``error``: its class, if it
        failed."""


class Tracing(Protocol):
    """Makes spans; never blocks, and never fails the work that they describe."""

    @property
    def on(self) -> bool:
        """Tells whether spans are made at all."""

    def start(
        self,
        name: str,
        kind: Kind,
        parent: bytes | None,
        attributes: Attributes,
        *,
        started_ns: int | None = None,
    ) -> Span:
        """Starts a span. ``parent``: a well-formed ``traceparent``; ``started_ns``: since 1970;
        None: now."""


class _PassedOn:
    def __init__(self, traceparent: bytes | None) -> None:
        self.traceparent = traceparent

    def end(
        self, attributes: Attributes, *, name: str | None = None, error: str | None = None
    ) -> None:
        """Does nothing: there is no span."""


class NoTracing:
    """Passes ``traceparent`` on as it came."""

    on = False

    def start(
        self,
        name: str,
        kind: Kind,
        parent: bytes | None,
        attributes: Attributes,
        *,
        started_ns: int | None = None,
    ) -> Span:
        return _PassedOn(parent)


@contextmanager
def ended_on_error(*spans: Span) -> Iterator[None]:
    """Ends the spans, as failed, if the block raises."""
    try:
        yield
    except BaseException as error:
        for span in spans:
            span.end({}, error=type(error).__name__)
        raise
