"""Finds the pages of the services of ``lockstream up``, and waits until they are ready."""

import asyncio
from collections.abc import Mapping, Sequence

from operations.running.api_workers import own_health_ports
from operations.running.probes import ask, shows
from operations.shared.console import say
from runtime.addresses import in_url, reachable
from runtime.errors import Unavailable
from runtime.settings import Settings

READY_S = 60.0
SHOWN_S = 15.0
POLL_S = 0.05


def base_url(settings: Settings) -> str:
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{in_url(reachable(settings.api_host))}:{settings.api_port}"


def health_pages(settings: Settings) -> dict[str, Sequence[str]]:
    """Returns the addresses of each role's health pages. The API has one on its own port, and one
    for each of several workers, where these have ports of their own."""
    health = in_url(reachable(settings.health_host))
    workers = own_health_ports(settings) if settings.api_workers > 1 else ()
    return {
        "api": [*(f"http://{health}:{port}" for port in workers), base_url(settings)],
        "projector": [f"http://{health}:{settings.projector_health_port}"],
        "fanout": [f"http://{health}:{settings.fanout_health_port}"],
    }


async def wait_until_ready(settings: Settings) -> None:
    """Waits until every role is ready.

    Raises:
        Unavailable: a role is not ready in time; the text says why.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_S
    pages = [
        (role, page) for role, all_of_it in health_pages(settings).items() for page in all_of_it
    ]
    for role, page in pages:
        while not (found := await asyncio.to_thread(ask, page)).ready:
            if loop.time() > deadline:
                reasons = "; ".join(f"{name}: {why}" for name, why in found.obstacles.items())
                raise Unavailable(
                    f"{role} is not ready after {READY_S:.0f} s: {reasons}; "
                    f"see {settings.state_dir}/logs/{role}.log"
                )
            await asyncio.sleep(POLL_S)


async def wait_until_shown(settings: Settings, lock_id: int, headers: Mapping[str, str]) -> None:
    """Waits until the API, which follows the log, knows a new key and a new lock. While the read
    model is being rebuilt that may take long: then says so, and returns."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SHOWN_S
    page = f"{base_url(settings)}/locks/{lock_id}"
    while not await asyncio.to_thread(shows, page, headers):
        if loop.time() > deadline:
            say(
                f"the API does not show lock {lock_id} yet; `lockstream status` says why, "
                f"or {settings.state_dir}/logs/api.log"
            )
            return
        await asyncio.sleep(POLL_S)
