"""Counts and times what the command API does."""

from collections.abc import Callable
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from runtime.metrics import SECONDS, RoleMetrics
from runtime.readiness import Readiness


class ApiMetrics(RoleMetrics):
    """Holds the metrics of the command API. A command's time has three parts: until Kafka has taken
    its fact, until its version has come back, and the rest."""

    def __init__(self, readiness: Readiness) -> None:
        super().__init__(readiness)
        registry = self.registry
        requests = Histogram(
            "http_server_request_duration_seconds",
            "From the request's head to the end of its answer (OpenTelemetry's HTTP convention)",
            ["http_request_method", "http_route", "http_response_status_code"],
            buckets=SECONDS,
            registry=registry,
        )
        commands = Counter(
            "lockstream_commands", "Commands by what became of them", ["outcome"], registry=registry
        )
        published = Counter(
            "lockstream_facts_published",
            "Facts that Kafka has taken from this process",
            ["type"],
            registry=registry,
        )
        self.publish_wait = Histogram(
            "lockstream_publish_wait_seconds",
            "How long a command waited for Kafka to take its fact, or to fail to",
            buckets=SECONDS,
            registry=registry,
        )
        self.version_wait = Histogram(
            "lockstream_version_wait_seconds",
            "How long a command waited for its version after that, whether it came or not",
            buckets=SECONDS,
            registry=registry,
        )
        self._jwks_age = Gauge(
            "lockstream_jwks_age_seconds",
            "Since the issuer's keys were last read; +Inf before the first time",
            ["issuer"],
            registry=registry,
        )
        # Looking a child up takes a lock, and more time than counting.
        self._requests_of = cache(requests.labels)
        self._commands_of = cache(commands.labels)
        self._published_of = cache(published.labels)

    def watch(self, *, in_flight: Callable[[], float], waiting: Callable[[], float]) -> None:
        self.show(
            "http_server_active_requests", "Requests in flight, without those of probes", in_flight
        )
        self.show(
            "lockstream_commands_waiting", "Commands whose version is being waited for", waiting
        )

    def watch_issuer(self, issuer: str, age_s: Callable[[], float]) -> None:
        self._jwks_age.labels(issuer).set_function(age_s)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answer. ``route``: a template, never a path."""
        self._requests_of(method, route, status).observe(seconds)

    def commanded(self, outcome: str) -> None:
        self._commands_of(outcome).inc()

    def published(self, fact_type: str) -> None:
        self._published_of(fact_type).inc()
