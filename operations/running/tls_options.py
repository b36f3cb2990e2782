"""Defines the options of the verbs that serve HTTPS."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from runtime.settings import Settings

TlsCert = Annotated[
    str | None, typer.Option("--tls-cert", help="Serve HTTPS: certificate and chain, a PEM file.")
]
TlsKey = Annotated[
    str | None, typer.Option("--tls-key", help="The certificate's private key, a PEM file.")
]


def with_tls(settings: Settings, cert: str | None, key: str | None) -> Settings:
    """Returns the settings with the files of the command line, where it names any."""
    chosen = (cert or settings.tls_cert, key or settings.tls_key)
    tls_cert, tls_key = (str(Path(file).absolute()) if file else "" for file in chosen)
    return msgspec.structs.replace(settings, tls_cert=tls_cert, tls_key=tls_key)
