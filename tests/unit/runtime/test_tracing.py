import subprocess
import sys

import pytest

from runtime.errors import ConfigurationError
from runtime.settings import read_settings
from schemas.trace_context import read_traceparent

GOOD = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

WITHOUT_AN_ENDPOINT = """
import asyncio, sys, threading
import command_api.role, projector.role, fanout.role
from runtime.settings import Settings
from runtime.tracing_setup import tracing_of
async def main(settings):
    async with tracing_of(settings, "test") as tracing:
        assert tracing.start("", "server", b"x", {}).traceparent == b"x"
        print(tracing.on, "opentelemetry" in sys.modules, threading.active_count())
asyncio.run(main(Settings()))
asyncio.run(main(Settings(otel_exporter_otlp_endpoint="http://x", otel_sdk_disabled=True)))
"""


def test_nothing_is_imported_or_started_without_an_endpoint() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_AN_ENDPOINT], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["False False 1", "False False 1"]


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t/x",
            },
            "https://t/x",
        ),
    ],
)
def test_spans_go_where_the_standard_variables_say(environment: dict[str, str], url: str) -> None:
    assert read_settings(environment).otlp_traces_url == url


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ],
)
def test_a_variable_of_opentelemetry_that_cannot_be_is_named(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable}: "):
        read_settings({variable: value})


@pytest.mark.parametrize(
    "value",
    [b"", b"00", GOOD.upper(), GOOD + b"-1", GOOD + b"\n", b"ff" + GOOD[2:],
     GOOD.replace(b"4bf92f3577b34da6a3ce929d0e0e4736", b"0" * 32),
     GOOD.replace(b"00f067aa0ba902b7", b"0" * 16)],
)  # fmt: skip
def test_only_a_well_formed_traceparent_counts(value: bytes) -> None:
    assert read_traceparent(GOOD) == GOOD
    assert read_traceparent(value) is None
