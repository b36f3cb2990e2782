"""Guards that every test stands under: nothing blocks the event loop, nothing fails in silence."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx



@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    """A blocking call inside the event loop, in our own code, fails the test."""
    with blockbuster_ctx("lockstream") as guard:
        # Path arithmetic, not I/O.
        guard.functions["os.path.abspath"].deactivate()
        # asyncpg looks for its password and certificate files as it connects.
        looks = {"_parse_connect_dsn_and_args", "_read_password_from_pgpass", "_dot_postgresql_path"}
        guard.functions["os.stat"].can_block_in("asyncpg/connect_utils.py", looks)
        yield guard


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def logged_errors() -> Iterator[list[str]]:
    """What our code logged as an error so far. A test that expects some empties the list."""
    handler = _Errors()
    logger = logging.getLogger("lockstream")
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
async def nothing_swallowed(logged_errors: list[str]) -> AsyncIterator[None]:
    """An exception that a background task lost, or an error that was only logged, fails the test."""
    lost: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: lost.append(str(context)))
    yield
    assert lost == []
    assert logged_errors == []


@pytest.fixture(autouse=True, scope="session")
def quiet_aiokafka() -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


