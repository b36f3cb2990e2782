"""Chooses how a role traces: by OTLP where an endpoint is configured, not at all elsewhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runtime.settings import Settings
from runtime.tracing import NoTracing, Tracing


@asynccontextmanager
async def tracing_of(settings: Settings, service: str) -> AsyncIterator[Tracing]:
    """Opens the tracing of a role. ``service``: its name, unless OTEL_SERVICE_NAME gives one. At
    the end what is queued is sent, for 3 s at most."""
    if settings.otel_sdk_disabled or not settings.otlp_traces_url:
        yield NoTracing()
        return
    # Only now: it takes a tenth of a second to import, and starts a thread.
    from runtime.otlp import OtlpTracing

    tracing = OtlpTracing(settings, service)
    try:
        yield tracing
    finally:
        await tracing.close()
