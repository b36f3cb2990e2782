"""Finds what of the environment and of a ``.env`` file is ours: both are shared with others."""

import difflib
import re
from collections.abc import Collection, Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from runtime.errors import ConfigurationError

_PREFIXES = ("LOCKSTREAM_", "READ_MODEL_")
_SHARED_PREFIX = "KAFKA_"
_OF_OTHERS = ("LOCKSTREAM_IMAGE", "LOCKSTREAM_TEST_")
"""What compose.yaml and the tests read."""
_SERVICE_LINK = re.compile(
    r"[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)\Z"
)
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)


def is_service_link(name: str, value: str) -> bool:
    """Tells whether Kubernetes made the variable of a Service's name. For a Service called
    ``lockstream-api`` every pod beside it gets ``LOCKSTREAM_API_PORT=tcp://10.0.0.1:8080``, which
    nobody asked for."""
    if _SERVICE_LINK.match(name):
        return True
    return name.endswith("_PORT") and _LINK_VALUE.match(value) is not None


def without_service_links(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if not is_service_link(k, v)}


def read_env_file(file: Path) -> dict[str, str]:
    """Reads the variables of a ``.env`` file; none where there is no such file.

    Raises:
        ConfigurationError: there is one, and it can't be read.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"{file} is not UTF-8: line {line} has the byte 0x{content[error.start]:02x}; save it "
            "as UTF-8"
        ) from error
    found = dotenv_values(stream=StringIO(text))
    return {name: value for name, value in found.items() if value is not None}


def warnings_about(names: Collection[str], known: Collection[str]) -> list[str]:
    """Returns one line for each name that looks like a setting of ours and is none."""
    return [
        f"{name} is not a setting of Lockstream and has no effect{hint}"
        for name in sorted(names)
        if name not in known and (hint := _hint(name, known)) is not None
    ]


def _hint(name: str, known: Collection[str]) -> str | None:
    """Returns what may be meant; None for a name that may well be somebody else's."""
    ours = name.startswith(_PREFIXES) and not name.startswith(_OF_OTHERS)
    shared = name.startswith(_SHARED_PREFIX)
    if not (ours or shared):
        return None
    # What others use too is only theirs if it is nearly spelled like one of ours.
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75 if ours else 0.93)
    if near:
        return f"; is {near[0]} meant?"
    return "; `lockstream settings` lists them" if ours else None
