import asyncio
import contextvars
import json
import logging
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runtime.logs import FULL_LINES, PACKAGES, AccessLine, AccessLog, _JsonLines, worker


def line(log: AccessLog, request_id: str = "1") -> AccessLine:
    return AccessLine(
        time=log.now(),
        level="INFO",
        logger="lockstream.access",
        message="GET /locks/{id} 200",
        method="GET",
        route="/locks/{id}",
        status=200,
        duration_ms=1.5,
        request_id=request_id,
    )


async def test_access_lines_are_written_together_whole_and_in_order() -> None:
    written: list[bytes] = []
    log = AccessLog(written.append)
    for number in range(FULL_LINES - 1):
        log.add(line(log, str(number)))
    assert written == []
    log.add(line(log, str(FULL_LINES - 1)))
    assert len(written) == 1
    log.add(line(log, "last"))
    async with asyncio.timeout(5):
        while len(written) < 2:  # noqa: ASYNC110 - the log's own timer is what is waited for
            await asyncio.sleep(0.01)
    log.flush()
    assert len(written) == 2
    ids = [json.loads(text)["request_id"] for text in b"".join(written).splitlines()]
    assert ids == [*map(str, range(FULL_LINES)), "last"]


async def test_what_a_worker_logs_says_which_it_is() -> None:
    written: list[bytes] = []
    plain = logging.makeLogRecord({"name": "projector", "msg": "hello"})

    def log_as_worker() -> str:
        worker.set(3)
        log = AccessLog(written.append)
        log.add(line(log))
        log.flush()
        return _JsonLines().format(plain)

    said = contextvars.copy_context().run(log_as_worker)
    access = json.loads(b"".join(written))
    assert json.loads(said)["worker"] == access["worker"] == 3
    assert access["request_id"] == "1"
    assert "worker" not in json.loads(_JsonLines().format(plain))


def test_an_access_line_says_when_it_was() -> None:
    log = AccessLog(lambda lines: None)
    for _ in range(20_000):
        before = datetime.now(UTC)
        said = datetime.fromisoformat(log.now())
        assert before - timedelta(milliseconds=1) < said <= datetime.now(UTC)
    assert len(log.now()) == 24


LOGS = """
import logging
from runtime.logs import RequestIds, request_ids, set_up_logs
set_up_logs({level!r})
logging.getLogger("sqlalchemy.engine").debug("their values")
logging.getLogger("httpx").info("their URL")
logging.getLogger("aiokafka").error("their retry")
ours = logging.getLogger("projector.test")
ours.debug("ours, in detail")
request_ids.set(RequestIds("r-1"))
try:
    raise ValueError("two\\nlines")
except ValueError:
    ours.exception("failed", extra={{"details": {{"partition": 3}}}})
"""


def logged(level: str) -> list[dict[str, object]]:
    code = LOGS.format(level=level)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_line_is_one_object_that_says_for_which_request_it_was_logged() -> None:
    (line,) = logged("INFO")
    assert (line["level"], line["logger"], line["message"]) == (
        "ERROR",
        "lockstream.projector.test",
        "failed",
    )
    assert (line["request_id"], line["partition"]) == ("r-1", 3)
    assert "ValueError: two\nlines" in str(line["exception"])


def test_in_detail_we_log_our_own_lines_and_never_the_values_that_libraries_see() -> None:
    messages = [line["message"] for line in logged("DEBUG")]
    assert "ours, in detail" in messages
    assert "their values" not in messages


def test_every_package_of_ours_is_known_as_ours() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert set(PACKAGES) == set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    beside = {"tests", "bench", "chaos", "support"}
    assert {*PACKAGES, *beside} == set(project["tool"]["importlinter"]["root_packages"])
