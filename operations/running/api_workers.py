"""Runs the API in several processes on one port: starts them, again where one dies, and stops
them."""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

import msgspec

from operations.running.supervisor import BAD_CONFIGURATION, Command, Supervised
from runtime.errors import AlreadySaid, ConfigurationError, Unavailable
from runtime.ports import free_port
from runtime.settings import Settings, variable_of
from runtime.sockets import can_share_ports, reserved_port

log = logging.getLogger(__name__)

LAST_PORT = 65_535
_GIVEN = ("api_port", "api_workers", "tls_cert", "tls_key")
"""The settings that a worker gets from here; all others it reads as we do."""


async def run_workers(settings: Settings, stop: asyncio.Event) -> None:
    """Keeps the workers running until ``stop`` is set, then returns when all have drained.

    Raises:
        ConfigurationError: the port is taken, a setting can't be used here, or a worker has ended
            for such a reason.
        Unavailable: a worker did not stop in order.
    """
    # Only whoever listens needs what serves HTTP.
    from command_api.listening import HOST_VARIABLE, PORT_VARIABLE, check_listening

    check_workers(settings)
    await check_listening(settings)
    host = settings.api_host
    port = settings.api_port or await asyncio.to_thread(free_port, 0, host=host)
    settings = msgspec.structs.replace(settings, api_port=port)
    workers = [
        Supervised(_command(settings, number), lambda: None, tell=log.warning)
        for number in range(settings.api_workers)
    ]
    codes: Sequence[int | None] = ()
    with reserved_port(host, port, HOST_VARIABLE, PORT_VARIABLE):
        log.info("api runs in %s workers on port %s", settings.api_workers, port)
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    for worker in workers:
                        tasks.create_task(worker.run())
                    await stop.wait()
                finally:
                    codes = await asyncio.gather(*(worker.stop() for worker in workers))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
    _judge(codes)


def _judge(codes: Sequence[int | None]) -> None:
    """Ends as the workers have: what they ended with is our exit code too.

    Raises:
        AlreadySaid: one ended with code 2.
        Unavailable: one ended with another code, or had to be killed.
    """
    for number, code in enumerate(codes):
        if code == BAD_CONFIGURATION:
            raise AlreadySaid(f"worker {number} ended for a reason that a restart does not mend")
        if code:
            raise Unavailable(f"worker {number} did not stop in order (it ended with {code})")


def check_workers(settings: Settings) -> None:
    """Checks what only several workers ask for.

    Raises:
        ConfigurationError: this system shares no port out, or their health ports can't be.
    """
    if settings.api_workers == 1:
        return
    if not can_share_ports():
        raise ConfigurationError(
            f"{variable_of('api_workers')}: several workers need Linux, where the kernel shares a "
            "port out among processes; here run one `lockstream api` on each of several ports"
        )
    ports = own_health_ports(settings)
    if ports and ports[-1] > LAST_PORT:
        raise ConfigurationError(
            f"{variable_of('api_health_port')}: {settings.api_workers} workers need as many ports "
            f"from {ports[0]} on, and the last port is {LAST_PORT}"
        )
    if settings.api_port in ports:
        raise ConfigurationError(
            f"{variable_of('api_health_port')}: the ports {ports[0]} to {ports[-1]} are the health "
            f"pages of {settings.api_workers} workers, and {settings.api_port} is the API's own"
        )


def own_health_ports(settings: Settings) -> Sequence[int]:
    """Returns the port of each worker's health page; none if they have no page of their own."""
    first = settings.api_health_port
    return range(first, first + settings.api_workers) if first else ()


def _command(settings: Settings, number: int) -> Command:
    given = {variable_of(name): str(getattr(settings, name)) for name in _GIVEN}
    ports = own_health_ports(settings)
    if ports:
        given[variable_of("api_health_port")] = str(ports[number])
    return Command(
        name=f"api worker {number}",
        # -P: a folder of that name where the user stands is none of ours.
        arguments=(sys.executable, "-P", "-m", "operations", "api", "--worker", str(number)),
        environment={**os.environ, **given},
        log=None,
    )
