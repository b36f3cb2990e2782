"""The health pages: what they answer, and whom ``/metrics`` is for."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from runtime.health import (
    Admits,
    everybody,
    health_routes,
    metrics_route,
    this_machine,
)
from runtime.metrics import RoleMetrics
from runtime.readiness import Readiness


def pages(
    readiness: Readiness, client: str = "127.0.0.1", admits: Admits = this_machine
) -> httpx.AsyncClient:
    metrics = metrics_route(RoleMetrics(readiness), admits)
    app = Starlette(routes=[*health_routes(readiness, lambda: {"lag": 3}), metrics])
    transport = httpx.ASGITransport(app, client=(client, 5000))
    return httpx.AsyncClient(transport=transport, base_url="http://role")


async def test_readyz_says_what_is_in_the_way_and_livez_does_not_care() -> None:
    readiness = Readiness()
    async with pages(readiness) as client:
        page = await client.get("/readyz")
        assert (page.status_code, page.json()) == (
            200,
            {"status": "ready", "obstacles": {}, "lag": 3},
        )
        readiness.block("kafka", "it does not answer")
        page = await client.get("/readyz")
        obstacles = {"kafka": "it does not answer"}
        assert (page.status_code, page.json()) == (
            503,
            {"status": "not ready", "obstacles": obstacles, "lag": 3},
        )
        assert (await client.get("/livez")).status_code == 200
        assert "lockstream_ready 0.0" in (await client.get("/metrics")).text


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("127.0.0.1", 200),
        ("127.8.9.1", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("10.0.0.7", 404),
        ("::ffff:10.0.0.7", 404),
        ("2001:db8::1", 404),
    ],
)
async def test_metrics_of_this_machine_are_there_for_nobody_else(client: str, status: int) -> None:
    async with pages(Readiness(), client) as asking:
        assert (await asking.get("/metrics")).status_code == status
        assert (await asking.get("/readyz")).status_code == 200
    async with pages(Readiness(), client, everybody) as asking:
        assert (await asking.get("/metrics")).status_code == 200


@pytest.mark.parametrize("name", ["Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"])
async def test_what_came_through_a_proxy_is_not_from_this_machine(name: str) -> None:
    async with pages(Readiness()) as client:
        assert (await client.get("/metrics", headers={name: "10.0.0.7"})).status_code == 404


def test_whoever_has_no_address_is_not_this_machine() -> None:
    assert not this_machine(Request({"type": "http", "headers": [], "client": None}))
