"""What most verbs need: the settings and, for the time of one call, the clients."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import msgspec
import typer

from eventlog.kafka import Kafka
from operations.shared.configuration import fail, load_settings, needs_broker
from operations.shared.console import say
from read_model.opening import open_read_model
from read_model.store import ReadModel
from runtime.errors import ConfigurationError, KafkaUnavailable, LockstreamError
from runtime.process import collect_rarely
from runtime.settings import Settings

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
    read_model = open_read_model(settings)
    try:
        yield Installation(settings, Kafka(settings, "lockstream-cli"), read_model)
    finally:
        await read_model.close()


async def require_read_model(here: Installation) -> None:
    """For verbs that ask the read model. They make none: an empty one would answer for the real.

    Raises:
        ConfigurationError: it is not known where it is, or it is not there.
        ReadModelUnavailable: the database can't be reached.
    """
    await require_place(here)
    await here.read_model.require()


async def require_place(here: Installation) -> None:
    """
    Raises:
        ConfigurationError: it is not known where the read model is.
    """
    settings = here.settings
    if not settings.read_model_url:
        file = settings.state_dir / "read_model.db"
        if not await asyncio.to_thread(file.exists):
            raise ConfigurationError(
                f"READ_MODEL_URL is not set, and there is no read model in {settings.state_dir}: "
                "set it to the database that the projector writes"
            )


def run_verb(verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs one verb. An error of ours is one line on stderr, and the exit code tells its kind."""
    # They log each failed attempt; a verb says once what came of them.
    for attempts in ("aiokafka", "eventlog.publisher"):
        logging.getLogger(attempts).setLevel(logging.CRITICAL)
    collect_rarely()
    with error_lines():
        return asyncio.run(_until_terminated(verb))


async def _until_terminated(verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """SIGTERM and SIGHUP end a verb as Ctrl-C does: what it has begun is cleared away."""
    task = asyncio.ensure_future(verb())
    ended: list[int] = []

    def end(number: int) -> None:
        ended.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not ended:
            raise
        say("lockstream: terminated")
        raise typer.Exit(128 + ended[0]) from None


@contextmanager
def error_lines() -> Iterator[None]:
    """An error of ours, or of a file that the user has named, ends the command with one line on
    stderr."""
    try:
        yield
    except KafkaUnavailable as error:
        servers = load_settings(tell=False).kafka_bootstrap_servers
        raise fail(KafkaUnavailable(f"{error}; is Kafka running at {servers}?")) from error
    except LockstreamError as error:
        raise fail(error) from error
    except KeyboardInterrupt as error:
        say("lockstream: interrupted")
        raise typer.Exit(130) from error
