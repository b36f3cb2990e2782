"""Runs a verb, with the clients of one installation, until it ends or is interrupted."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import msgspec
import typer

from eventlog.kafka import Kafka
from eventlog.publisher import FactPublisher
from eventlog.registry import Registry, Removal, edit_registry, read_registry
from operations.shared.configuration import fail, load_settings, needs_broker
from operations.shared.console import say
from read_model.opening import open_read_model
from read_model.store import ReadModel
from runtime.errors import ConfigurationError, KafkaUnavailable, LockstreamError
from runtime.process import collect_rarely
from runtime.settings import Settings
from runtime.tracing import NoTracing
from schemas.registry import Entry

T = TypeVar("T")
Edited = TypeVar("Edited", bound="Entry | Removal")


class Installation(msgspec.Struct, frozen=True):
    """An installation as a verb sees it: its settings, and clients of its Kafka and read model."""

    settings: Settings
    kafka: Kafka
    read_model: ReadModel

    async def read_registry(self) -> Registry:
        """Reads the registry as it stands now.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        return await read_registry(self.kafka, self.settings.topics.registry)

    async def edit_registry(self, edit: Callable[[Registry], Sequence[Edited]]) -> Sequence[Edited]:
        """Writes what ``edit`` returns, all of it or nothing; see ``eventlog.registry``.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        return await edit_registry(self.kafka, self.settings.topics.registry, edit)

    @asynccontextmanager
    async def fact_publisher(self, timeout_s: float) -> AsyncIterator[FactPublisher]:
        """Opens a publisher of facts. ``timeout_s``: how long one fact may take.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
            KafkaRefused: we may not write facts.
        """
        publisher = FactPublisher(
            self.kafka,
            self.settings.topics.lock_facts,
            self.settings.partitions,
            timeout_s,
            NoTracing(),
        )
        try:
            await publisher.start()
            yield publisher
        finally:
            await publisher.close()

    async def require_read_model(self) -> None:
        """Checks that the read model is there. Verbs make none: an empty one would answer wrongly.

        Raises:
            ConfigurationError: it is not known where it is, or it is not there.
            ReadModelUnavailable: the database can't be reached.
        """
        await self.require_read_model_url()
        await self.read_model.require()

    async def require_read_model_url(self) -> None:
        """Checks that it is known where the read model is.

        Raises:
            ConfigurationError: it is not.
        """
        folder = self.settings.state_dir
        if self.settings.read_model_url:
            return
        if not await asyncio.to_thread((folder / "read_model.db").exists):
            raise ConfigurationError(
                f"READ_MODEL_URL is not set, and there is no read model in {folder}: "
                "set it to the database that the projector writes"
            )


@asynccontextmanager
async def open_installation(
    settings: Settings | None = None, client_id: str = "lockstream-cli"
) -> AsyncIterator[Installation]:
    """Opens the installation of these settings, or of those that the command finds.

    Raises:
        ConfigurationError: see ``load_settings``; or no broker is named.
    """
    found = settings or needs_broker(load_settings())
    read_model = open_read_model(found)
    try:
        yield Installation(found, Kafka(found, client_id), read_model)
    finally:
        await read_model.close()


def run_on_installation(work: Callable[[Installation], Awaitable[T]]) -> T:
    """Runs a verb that needs the installation's clients; see ``run_verb``."""

    async def verb() -> T:
        async with open_installation() as here:
            return await work(here)

    return run_verb(verb)


def run_verb(verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs one verb; an error of ours becomes one line on stderr, and the exit code tells its
    kind."""
    # They log each failed attempt; a verb says once what came of them.
    for attempts in ("aiokafka", "eventlog.publisher"):
        logging.getLogger(attempts).setLevel(logging.CRITICAL)
    collect_rarely()
    with error_lines():
        return asyncio.run(_until_terminated(verb))


async def _until_terminated(verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a verb, which SIGTERM and SIGHUP cancel as Ctrl-C does."""
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
    """Ends the command with one line on stderr at an error of ours, or at Ctrl-C."""
    try:
        yield
    except KafkaUnavailable as error:
        servers = load_settings(warn=False).kafka_bootstrap_servers
        raise fail(KafkaUnavailable(f"{error}; is Kafka running at {servers}?")) from error
    except LockstreamError as error:
        raise fail(error) from error
    except KeyboardInterrupt as error:
        say("lockstream: interrupted")
        raise typer.Exit(130) from error
