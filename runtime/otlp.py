"""Makes spans with OpenTelemetry's SDK and sends them by OTLP/HTTP. Imported only where an endpoint
is configured. A thread of the SDK sends what is queued. The queue is bounded: while the collector
is away, spans are dropped, and the SDK says so in the log."""

import asyncio
from importlib.metadata import version
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind, Status, StatusCode

from runtime.settings import Settings
from runtime.tracing import Attributes, Kind

CLOSE_S = 3.0
_KINDS: dict[Kind, SpanKind] = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class OtlpSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent: bytes | None = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()
        )

    def end(
        self, attributes: Attributes, *, name: str | None = None, error: str | None = None
    ) -> None:
        if self._span.is_recording():
            self._span.set_attributes(dict(attributes))
            if name is not None:
                self._span.update_name(name)
            if error is not None:
                self._span.set_attribute("error.type", error)
                self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OtlpTracing:
    on = True

    def __init__(self, settings: Settings, service: str) -> None:
        resource = Resource.create(
            {
                "service.name": settings.otel_service_name or service,
                "service.version": version("lockstream"),
            }
        )
        # Its own end at exit would wait for a collector that is away: `close` waits a little.
        self._provider = TracerProvider(_sampler(settings), resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=settings.otlp_traces_url)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("lockstream", version("lockstream"))

    def start(
        self,
        name: str,
        kind: Kind,
        parent: bytes | None,
        attributes: Attributes,
        *,
        started_ns: int | None = None,
    ) -> OtlpSpan:
        context = _context_of(parent) if parent is not None else Context()
        return OtlpSpan(
            self._tracer.start_span(
                name, context, _KINDS[kind], dict(attributes), start_time=started_ns
            )
        )

    async def close(self) -> None:
        """Sends what is queued, and gives up after 3 s: a process ends without this thread."""
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(closed.set)

        Thread(target=shut_down, name="last-spans", daemon=True).start()
        await asyncio.wait((asyncio.ensure_future(closed.wait()),), timeout=CLOSE_S)


def _context_of(traceparent: bytes) -> Context:
    _, trace_id, span_id, flags = traceparent.split(b"-")[:4]
    remote = trace.SpanContext(
        int(trace_id, 16), int(span_id, 16), True, trace.TraceFlags(int(flags, 16) & 1)
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(remote), Context())


def _sampler(settings: Settings) -> Sampler:
    name = settings.otel_traces_sampler
    root: Sampler = TraceIdRatioBased(settings.otel_traces_sampler_arg)
    if name.endswith("always_on"):
        root = ALWAYS_ON
    elif name.endswith("always_off"):
        root = ALWAYS_OFF
    return ParentBased(root) if name.startswith("parentbased_") else root
