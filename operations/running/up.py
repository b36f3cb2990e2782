"""``lockstream up``: runs everything on this machine, supervised, with demo data if wanted."""

import asyncio
import os
import signal
from typing import Annotated

import typer

from command_api.listening import check_listening
from operations.running.api_workers import check_workers
from operations.running.env_files import env_lines
from operations.running.local_system import LocalSystem
from operations.running.serving_options import (
    ApiWorkers,
    TlsCert,
    TlsKey,
    with_tls,
    with_workers,
)
from operations.shared.configuration import DOTENV, warn_of_unknown_variables
from operations.shared.installation import run_verb
from read_model.database import read_model_url
from runtime.errors import ConfigurationError
from runtime.files import held_file, keep_private, make_private
from runtime.settings import Settings, read_settings, variable_of


def up(
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Also create an organisation, a lock, a key and a partner."),
    ] = False,
    api_workers: ApiWorkers = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Run everything on this machine: the three services, and a broker if none is configured.

    Ctrl-C stops all of them. All data stays in the state folder (.lockstream)."""
    run_verb(lambda: _up(demo, api_workers, tls_cert, tls_key))


async def _up(
    demo: bool, api_workers: int | None, tls_cert: str | None, tls_key: str | None
) -> None:
    settings = with_tls(read_settings(os.environ, DOTENV), tls_cert, tls_key)
    settings = with_workers(settings, api_workers)
    warn_of_unknown_variables()
    await _check(settings)
    keep_private()
    try:
        make_private(settings.state_dir)
    except OSError as error:
        raise ConfigurationError(
            f"LOCKSTREAM_STATE_DIR: {settings.state_dir}: {error.strerror}"
        ) from error
    held = ConfigurationError(
        f"another `lockstream up` runs on {settings.state_dir.absolute()}; stop it first"
    )
    with held_file(settings.state_dir / "up.lock", 0.0, held):
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await LocalSystem(settings, demo=demo).run(stop)


async def _check(settings: Settings) -> None:
    """Checks, before anything is started, what a service would refuse later.

    Raises:
        ConfigurationError: a setting can't be used, or not written to ``demo.env``.
    """
    read_model_url(settings)
    check_workers(settings)
    await check_listening(settings)
    env_lines(
        {
            variable_of("state_dir"): settings.state_dir.absolute(),
            "READ_MODEL_URL": settings.read_model_url,
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        }
    )
