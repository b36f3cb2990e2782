"""Logs: one JSON object a line, on stderr."""

import logging
from datetime import UTC, datetime

import msgspec

from lockstream.schemas.primitives import write_time


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": write_time(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        details = record.__dict__.get("details")
        if isinstance(details, dict):
            line.update(details)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up_logs(level: str) -> None:
    """Called once, by a role's composition root."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    if level != "DEBUG":
        # It logs every request, with its whole URL.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        # It logs every retry while a broker is away; readiness says that once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
