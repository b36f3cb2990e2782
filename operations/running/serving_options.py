"""Defines the options of the verbs that serve the API: HTTPS, and how many processes."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from runtime.settings import MOST_WORKERS, Settings

TlsCert = Annotated[
    str | None, typer.Option("--tls-cert", help="Serve HTTPS: certificate and chain, a PEM file.")
]
TlsKey = Annotated[
    str | None, typer.Option("--tls-key", help="The certificate's private key, a PEM file.")
]
_PROCESSES = (
    "Processes that serve the API's port together, each a replica of its own "
    "(LOCKSTREAM_API_WORKERS). Each counts its limits for itself. With "
    "LOCKSTREAM_API_HEALTH_PORT=P the first one's health page is on port P, the next one's on "
    "P + 1, and so on."
)
Workers = Annotated[int | None, typer.Option("--workers", min=1, max=MOST_WORKERS, help=_PROCESSES)]
ApiWorkers = Annotated[
    int | None, typer.Option("--api-workers", min=1, max=MOST_WORKERS, help=_PROCESSES)
]


def with_tls(settings: Settings, cert: str | None, key: str | None) -> Settings:
    """Returns the settings with the files of the command line, where it names any."""
    chosen = (cert or settings.tls_cert, key or settings.tls_key)
    tls_cert, tls_key = (str(Path(file).absolute()) if file else "" for file in chosen)
    return msgspec.structs.replace(settings, tls_cert=tls_cert, tls_key=tls_key)


def with_workers(settings: Settings, workers: int | None) -> Settings:
    """Returns the settings with the number of the command line, where it says one."""
    return msgspec.structs.replace(settings, api_workers=workers or settings.api_workers)
