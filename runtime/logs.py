"""Writes logs: one JSON object a line, on stderr."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

import msgspec

from schemas.primitives import write_time

PACKAGES = (
    "schemas",
    "command_api",
    "projector",
    "fanout",
    "eventlog",
    "read_model",
    "runtime",
    "operations",
)
"""Our own code, whose loggers have these names."""
FLUSH_S = 0.05
FULL_LINES = 500


class RequestIds(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every line that is logged for a request says of that request."""

    request_id: str
    trace_id: str | None = None


request_ids: ContextVar[RequestIds] = ContextVar("request_ids")
"""The request that the running task works for."""


worker: ContextVar[int] = ContextVar("worker")
"""Which worker of the API this process is: what is logged from then on says so."""


class AccessLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answered request. ``route``: the template, not the path; ``client``: as a trusted proxy
    says. ``key_id`` and ``org_id``: those of the API key, if it is valid."""

    time: str
    level: str
    logger: str
    message: str
    method: str
    route: str
    status: int
    duration_ms: float
    request_id: str
    client: str | None = None
    trace_id: str | None = None
    key_id: str | None = None
    org_id: str | None = None


class AccessLog:
    """Writes lines in bundles, at most 50 ms late. ``write`` takes whole lines."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._lines: list[bytes] = []
        self._second = -1
        self._second_text = ""
        self._encode = msgspec.json.Encoder().encode
        number = worker.get(None)
        self._end = b"}" if number is None else b',"worker":%d}' % number

    def add(self, line: AccessLine) -> None:
        self._lines.append(self._encode(line)[:-1] + self._end)
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        elif len(self._lines) >= FULL_LINES:
            self.flush()

    def now(self) -> str:
        """Returns the time of a line. The part that many lines have in common is made once a
        second."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            # All but the milliseconds: 2026-11-23T10:00:00.
            self._second_text = write_time(datetime.fromtimestamp(second, UTC))[:20]
        return f"{self._second_text}{int((now - second) * 1000):03d}Z"

    def flush(self) -> None:
        if self._lines:
            bundle = b"\n".join(self._lines) + b"\n"
            self._lines.clear()
            self._write(bundle)


def _public_name(logger: str) -> str:
    """Returns the name that lines have: ours are told from libraries' by ``lockstream.``."""
    return f"lockstream.{logger}" if logger.split(".")[0] in PACKAGES else logger


class _JsonLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self._worker = worker.get(None)

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": write_time(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": _public_name(record.name),
            "message": record.getMessage(),
        }
        if self._worker is not None:
            line["worker"] = self._worker
        ids = request_ids.get(None)
        if ids is not None:
            line.update(msgspec.to_builtins(ids))
        details = record.__dict__.get("details")
        if isinstance(details, dict):
            line.update(details)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up_logs(level: str) -> None:
    """Sets up all loggers; a role's composition root calls this once."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # At DEBUG, libraries log records and statements with all their values: none of them goes there.
    root.setLevel("INFO" if level == "DEBUG" else level)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(level)
    if level != "DEBUG":
        # It logs every request, with its whole URL.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        # It logs every retry while a broker is away; readiness says that once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
