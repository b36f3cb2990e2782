"""What is counted of the requests, and that callers can't make labels of their own."""

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from command_api.app import USE_TEMP_KEY
from command_api.metrics import ApiMetrics
from command_api.observation import OUTCOMES, Observation
from command_api.routes import Routes
from runtime.readiness import Readiness
from runtime.tracing import NoTracing

COMMAND = "/locks/7/use-temp-key"


async def answer(request: Request) -> Response:
    """As the header asks."""
    headers = {"Idempotent-Replayed": "true"} if "x-replayed" in request.headers else {}
    return Response(status_code=int(request.headers.get("x-status", "200")), headers=headers)


class Watched:
    def __init__(self) -> None:
        routes = [
            Route(USE_TEMP_KEY, answer, methods=["POST"]),
            Route("/locks/{id}", answer, methods=["GET"]),
        ]
        self.metrics = ApiMetrics(Readiness())
        app = Observation(Routes(routes), routes, self.metrics, NoTracing(), None)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")

    def labels(self, name: str) -> list[dict[str, str]]:
        return [
            sample.labels
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == name
        ]


async def test_methods_and_paths_of_callers_are_no_labels() -> None:
    watched = Watched()
    async with watched.client as client:
        for number in range(5):
            await client.get(f"/locks/{number}")
            await client.get(f"/nowhere/{number}")
            await client.request(f"METHOD{number}", f"/locks/{number}")
    counted = watched.labels("http_server_request_duration_seconds_count")
    assert {(c["http_request_method"], c["http_route"]) for c in counted} == {
        ("GET", "/locks/{id}"),
        ("GET", "unmatched"),
        ("_OTHER", "/locks/{id}"),
    }


@pytest.mark.parametrize(
    ("status", "replayed", "outcome"),
    [
        *((status, False, outcome) for status, outcome in OUTCOMES.items()),
        (200, True, "replayed"),
        (418, False, "failed"),
    ],
)
async def test_each_command_counts_once_as_what_became_of_it(
    status: int, replayed: bool, outcome: str
) -> None:
    watched = Watched()
    headers = {"X-Status": str(status), **({"X-Replayed": "yes"} if replayed else {})}
    async with watched.client as client:
        await client.post(COMMAND, headers=headers)
        await client.get(COMMAND, headers=headers)  # is no command
        await client.get("/locks/7", headers=headers)
    assert watched.labels("lockstream_commands_total") == [{"outcome": outcome}]
