"""Serves the health page of a role: ``/livez``, ``/readyz`` and ``/metrics``, without
credentials."""

import asyncio
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runtime.addresses import is_loopback
from runtime.metrics import RoleMetrics
from runtime.quiet_server import QuietServer
from runtime.readiness import Readiness
from runtime.sockets import listening_sockets

Details = Callable[[], dict[str, object]]
Admits = Callable[[Request], bool]
HOST_VARIABLE = "LOCKSTREAM_HEALTH_HOST"
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


def health_routes(readiness: Readiness, details: Details) -> list[Route]:
    """Makes ``/livez``, which always answers, and ``/readyz``: 503, and why, if the role can't
    work."""

    async def livez(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> Response:
        body = {
            "status": "ready" if readiness.ready else "not ready",
            "obstacles": readiness.obstacles,
            **details(),
        }
        return JSONResponse(body, status_code=200 if readiness.ready else 503)

    return [Route("/livez", livez), Route("/readyz", readyz)]


def everybody(request: Request) -> bool:
    return True


def this_machine(request: Request) -> bool:
    """Tells whether the request came from a process here, and not through a proxy for somebody
    else."""
    direct = not any(name in request.headers for name in FORWARDED)
    return direct and request.client is not None and is_loopback(request.client.host)


def metrics_route(metrics: RoleMetrics, admits: Admits = everybody) -> Route:
    """Makes ``/metrics``; a caller that is not admitted gets 404."""

    async def show(request: Request) -> Response:
        if not admits(request):
            raise HTTPException(404)
        exposition = await metrics.exposition(request.headers.get("accept", ""))
        return Response(exposition.body, headers={"Content-Type": exposition.content_type})

    return Route("/metrics", show)


async def serve_health(
    host: str,
    port: int,
    readiness: Readiness,
    details: Details,
    metrics: RoleMetrics,
    stop: asyncio.Event,
    port_variable: str,
) -> None:
    """Serves the health page until ``stop`` is set.

    Raises:
        ConfigurationError: the port can't be listened on.
    """
    sockets = await asyncio.to_thread(listening_sockets, host, port, HOST_VARIABLE, port_variable)
    config = uvicorn.Config(
        Starlette(routes=[*health_routes(readiness, details), metrics_route(metrics)]),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    await QuietServer(config).serve_until(stop, sockets)
