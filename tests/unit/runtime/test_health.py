"""Who is shown a role's metrics."""

import httpx
import pytest
from starlette.applications import Starlette

from lockstream.runtime.health import Admits, everybody, metrics_route, this_machine
from lockstream.runtime.metrics import RoleMetrics
from lockstream.runtime.readiness import Readiness


async def status(admits: Admits, client: str, headers: dict[str, str]) -> int:
    app = Starlette(routes=[metrics_route(RoleMetrics(Readiness()), admits)])
    transport = httpx.ASGITransport(app, client=(client, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as asking:
        answer = await asking.get("/metrics", headers=headers)
    assert ("lockstream_ready" in answer.text) == (answer.status_code == 200)
    return answer.status_code


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
async def test_a_process_of_this_machine_is_shown_its_metrics(client: str) -> None:
    assert await status(this_machine, client, {}) == 200


@pytest.mark.parametrize("client", ["10.0.0.7", "203.0.113.7", "::ffff:10.0.0.7", "2001:db8::1"])
async def test_nobody_from_elsewhere_is_shown_them_unless_everybody_may(client: str) -> None:
    assert await status(this_machine, client, {}) == 404
    assert await status(everybody, client, {}) == 200


@pytest.mark.parametrize("name", ["Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"])
async def test_a_proxy_of_this_machine_gets_them_for_nobody(name: str) -> None:
    assert await status(this_machine, "127.0.0.1", {name: "203.0.113.7"}) == 404
