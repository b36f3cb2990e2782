"""Guards that every test stands under: nothing blocks the event loop, nothing fails in silence."""

import gc
import logging
from collections.abc import Generator, Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from runtime.logs import PACKAGES


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    """A blocking call inside the event loop, in our own code, fails the test."""
    with blockbuster_ctx(list(PACKAGES)) as guard:
        # Path arithmetic, not I/O.
        guard.functions["os.path.abspath"].deactivate()
        # asyncpg looks for its password and certificate files as it connects.
        looks = {
            "_parse_connect_dsn_and_args",
            "_read_password_from_pgpass",
            "_dot_postgresql_path",
        }
        guard.functions["os.stat"].can_block_in("asyncpg/connect_utils.py", looks)
        yield guard


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def logged_errors() -> Iterator[list[str]]:
    """What our code logged as an error so far. A test that expects some empties the list."""
    handler = _Errors()
    loggers = [logging.getLogger(name) for name in PACKAGES]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler.lines
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def nothing_only_logged(logged_errors: list[str]) -> Iterator[None]:
    """An error that was only logged fails the test."""
    yield
    assert logged_errors == []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What asyncio logs as an error is an exception that a task or a call-back lost."""
    handler = item.stash[_LOST] = _Errors()
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    try:
        return (yield)
    finally:
        logger.removeHandler(handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fails the test that lost one. A hook: only now the event loop is closed."""
    result = yield
    if item.get_closest_marker("asyncio"):
        gc.collect()  # a task says what nobody asked it for only when it goes
    if lost := item.stash[_LOST].lines:
        pytest.fail("lost in the background:\n" + "\n".join(lost), pytrace=False)
    return result


_LOST = pytest.StashKey[_Errors]()


@pytest.fixture(autouse=True, scope="session")
def quiet_aiokafka() -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
