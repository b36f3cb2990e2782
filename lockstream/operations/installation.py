"""What most verbs need: the settings and, for the time of one call, the clients."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import typer

from lockstream.eventlog.kafka import Kafka
from lockstream.operations.configuration import fail, load_settings, needs_broker
from lockstream.operations.console import say
from lockstream.read_model.database import Database, read_model_url
from lockstream.read_model.store import ReadModel
from lockstream.runtime.errors import KafkaUnavailable, LockstreamError
from lockstream.runtime.process import collect_rarely
from lockstream.runtime.settings import Settings

T = TypeVar("T")


class Installation(msgspec.Struct, frozen=True):
    settings: Settings
    kafka: Kafka
    read_model: ReadModel


@asynccontextmanager
async def open_installation() -> AsyncIterator[Installation]:
    """
    Raises:
        ConfigurationError: see ``load_settings``.
    """
    settings = needs_broker(load_settings())
    read_model = ReadModel(
        Database(read_model_url(settings), settings.read_model_timeout), settings.partitions
    )
    try:
        yield Installation(settings, Kafka(settings, "lockstream-cli"), read_model)
    finally:
        await read_model.close()


def run_verb(verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs one verb. An error of ours is one line on stderr, and the exit code tells its kind."""
    # It logs each failed attempt; a verb says once what came of them.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    collect_rarely()
    try:
        return asyncio.run(verb())
    except KafkaUnavailable as error:
        servers = load_settings().kafka_bootstrap_servers
        raise fail(KafkaUnavailable(f"{error}; is Kafka running at {servers}?")) from error
    except LockstreamError as error:
        raise fail(error) from error
    except KeyboardInterrupt as error:
        say("lockstream: interrupted")
        raise typer.Exit(130) from error
    except BrokenPipeError as error:
        # The reader of our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(0) from error
