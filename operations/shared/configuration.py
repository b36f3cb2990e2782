"""Finds a verb's settings, and ends the verb on an error of ours. Imports little, since the roles
start with this module, and start again after a crash."""

import os
from pathlib import Path

import msgspec
import typer

from operations.shared.console import say
from runtime.errors import (
    ConfigurationError,
    KafkaRefused,
    LockstreamError,
    PartitionsChanged,
)
from runtime.settings import Settings, read_settings, unknown_variables

DOTENV = Path(".env")
DEMO_ENV = "demo.env"


def load_settings(*, warn: bool = True) -> Settings:
    """Reads the environment, ``.env`` and, below both, what ``up`` wrote to ``demo.env``. ``warn``:
    also say which variables have no effect.

    Raises:
        ConfigurationError: a variable has a value that it can't have.
    """
    settings = read_settings(os.environ, DOTENV)
    if warn:
        warn_of_unknown_variables()
    running = read_settings({}, settings.state_dir / DEMO_ENV)
    if settings.kafka_bootstrap_servers not in ("", running.kafka_bootstrap_servers):
        return settings
    return msgspec.structs.replace(
        settings,
        kafka_bootstrap_servers=running.kafka_bootstrap_servers,
        read_model_url=settings.read_model_url or running.read_model_url,
        health_pages=settings.health_pages or running.health_pages,
        partner_bootstrap_servers=(
            settings.partner_bootstrap_servers or running.partner_bootstrap_servers
        ),
        partner_ca=settings.partner_ca or running.partner_ca,
    )


def warn_of_unknown_variables() -> None:
    """Warns of variables that look like settings and have no effect.

    Raises:
        ConfigurationError: ``.env`` can't be read.
    """
    for warning in unknown_variables(os.environ, DOTENV):
        say(f"lockstream: {warning}")


def needs_broker(settings: Settings) -> Settings:
    """Returns the settings, if they name a broker.

    Raises:
        ConfigurationError: they name none.
    """
    if not settings.kafka_bootstrap_servers:
        raise ConfigurationError(
            "KAFKA_BOOTSTRAP_SERVERS is not set, and no `lockstream up` has run in this folder"
        )
    return settings


def fail(error: LockstreamError) -> typer.Exit:
    """Says the error; returns exit code 2 for what the user can mend, else 1."""
    say(f"lockstream: {error}")
    mendable = isinstance(error, ConfigurationError | KafkaRefused | PartitionsChanged)
    return typer.Exit(2 if mendable else 1)
