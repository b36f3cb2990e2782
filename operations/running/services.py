"""``lockstream api | projector | fanout | broker``: runs one role, in the foreground. Each imports
its role only when it runs: a crashed fan-out is back half a second sooner without the others'
code."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

import typer

from operations.running.serving_options import (
    TlsCert,
    TlsKey,
    Workers,
    with_tls,
    with_workers,
)
from operations.shared.configuration import fail, load_settings, needs_broker
from operations.shared.console import say
from runtime.errors import LockstreamError
from runtime.files import keep_private, make_private
from runtime.logs import set_up_logs
from runtime.logs import worker as worker_of_logs
from runtime.process import run_role
from runtime.settings import Settings

Supervised = Annotated[
    bool,
    typer.Option("--supervised", hidden=True, help="Stop when standard input closes."),
]
Worker = Annotated[
    int | None,
    typer.Option("--worker", hidden=True, help="Be this worker of the process that starts it."),
]
RunRole = Callable[[Settings, asyncio.Event], Awaitable[None]]
Orphaned = Callable[[asyncio.Event], None]
"""Ends a role whose supervisor has died; gets what would stop it in order."""


def api(
    workers: Workers = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    supervised: Supervised = False,
    worker: Worker = None,
) -> None:
    """Run the HTTP command API."""
    settings = with_workers(with_tls(_load(worker), tls_cert, tls_key), workers)
    if worker is not None:
        from command_api.role import run_api

        _run(f"api worker {worker}", settings, run_api, _die)
    elif settings.api_workers > 1:
        from operations.running.api_workers import run_workers

        _run("api", settings, run_workers, _in_order(supervised))
    else:
        from command_api.role import run_api

        _run("api", settings, run_api, _in_order(supervised))


def projector(supervised: Supervised = False) -> None:
    """Run the projector: it gives facts their versions (lock-facts → lock-events), and folds the
    read model."""
    from projector.role import run_projector

    _run("projector", _load(), run_projector, _in_order(supervised))


def fanout(supervised: Supervised = False) -> None:
    """Run the fan-out: it delivers lock-events to the partners' topics."""
    from fanout.role import run_fanout

    _run("fanout", _load(), run_fanout, _in_order(supervised))


def _in_order(supervised: bool) -> Orphaned | None:
    return asyncio.Event.set if supervised else None


def _load(worker: int | None = None) -> Settings:
    """Reads the settings, and sets up what a role writes."""
    keep_private()
    try:
        settings = needs_broker(load_settings())
    except LockstreamError as error:
        raise fail(error) from error
    if worker is not None:
        worker_of_logs.set(worker)
    set_up_logs(settings.log_level)
    return settings


def _run(
    name: str,
    settings: Settings,
    role: RunRole,
    orphaned: Orphaned | None,
) -> None:
    async def run(stop: asyncio.Event) -> None:
        if orphaned is not None:
            _watch_supervisor(lambda: orphaned(stop))
        await role(settings, stop)

    raise typer.Exit(run_role(name, run))


def _watch_supervisor(ended: Callable[[], None]) -> None:
    """Calls ``ended`` when standard input closes: a pipe from the supervisor, which closes when
    that dies."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    os.set_blocking(descriptor, False)

    def readable() -> None:
        if os.read(descriptor, 1024) == b"":
            loop.remove_reader(descriptor)
            ended()

    loop.add_reader(descriptor, readable)


def _die(stop: asyncio.Event) -> None:
    """Ends a worker with its parent, which was killed: what starts that again needs the ports of
    all workers at once."""
    os._exit(1)


def broker(
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; another one if it is taken.")
    ] = None,
) -> None:
    """Run a local Apache Kafka; its data stays in the state folder."""
    from eventlog.local.local_broker import LocalBroker
    from operations.partners.listener_tls import local_partner_listener

    try:
        settings = load_settings()
        keep_private()
        make_private(settings.state_dir / "broker")
        partners, _ = local_partner_listener(settings)
        running = LocalBroker.start(
            settings.state_dir / "broker", port=port, progress=say, partners=partners
        )
    except LockstreamError as error:
        raise fail(error) from error
    say(
        f"Kafka answers on {running.bootstrap_servers}, and partners on "
        f"{running.partner_servers} (SASL_SSL); Ctrl-C stops it"
    )
    stopping = False

    def ask_to_stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    while not stopping and running.poll() is None:
        time.sleep(0.1)
    code = running.poll()
    running.stop()
    if code is not None:
        say(f"lockstream: Kafka stopped (exit code {code}); see {settings.state_dir}/broker")
        raise typer.Exit(1)


ROLES: Mapping[str, Callable[..., None]] = {
    "api": api,
    "projector": projector,
    "fanout": fanout,
    "broker": broker,
}
