import asyncio
import json
from datetime import UTC, datetime, timedelta

from lockstream.runtime.logs import FULL_LINES, AccessLine, AccessLog


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


def test_an_access_line_says_when_it_was() -> None:
    log = AccessLog(lambda lines: None)
    for _ in range(20_000):
        before = datetime.now(UTC)
        said = datetime.fromisoformat(log.now())
        assert before - timedelta(milliseconds=1) < said <= datetime.now(UTC)
    assert len(log.now()) == 24
