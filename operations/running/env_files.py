"""Writes lines of ``demo.env`` that a shell and python-dotenv read as the same value. Pure."""

import re
from collections.abc import Mapping

from runtime.errors import ConfigurationError

_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_-]*\Z")


def env_lines(values: Mapping[str, object]) -> str:
    """Returns one line for each variable.

    Raises:
        ConfigurationError: no spelling of a value means the same to both.
    """
    return "".join(f"{name}={_quoted(name, str(value))}\n" for name, value in values.items())


def _quoted(name: str, value: str) -> str:
    if _PLAIN.match(value):
        return value
    if value.isprintable() and "${" not in value:
        # Between single quotes a shell takes all as it stands, dotenv all but \' and \\.
        if "'" not in value and "\\\\" not in value and not value.endswith("\\"):
            return f"'{value}'"
        # Between double quotes both take \" and \\, and only a shell $ and `.
        if "$" not in value and "`" not in value:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
    raise ConfigurationError(
        f"{name}: {value!r} can't be written so that a shell and dotenv read the same; "
        "use a folder without quotes, '$' and backslashes in its name"
    )
