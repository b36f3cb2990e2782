"""Reads READ_MODEL_URL as people and managed PostgreSQL services write it. What we can honour is
taken, the rest is refused by its name."""

import errno
import os
import sqlite3
import ssl
import stat
from contextlib import closing
from pathlib import Path

import msgspec
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from runtime.errors import ConfigurationError

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_EXAMPLE = "give sqlite:////folder/file or postgresql://user:password@host:5432/database"
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSIONS = ("any", "primary", "standby", "read-write", "read-only", "prefer-standby")


class PostgresqlOptions(msgspec.Struct, frozen=True):
    """Holds what the URL's query asks of the driver."""

    tls: ssl.SSLContext | str | None = None
    connect_timeout_s: float | None = None
    session: str | None = None
    server_settings: dict[str, str] = {}


def read_url(given: str) -> URL:
    """Reads a URL, and sets the driver that we use.

    Raises:
        ConfigurationError: it can't be used; the text says why, without the password.
    """
    scheme = given.partition("://")[0].partition("+")[0].strip()
    if "://" not in given or scheme not in _DRIVERS:
        raise _bad(f"a URL that begins with {scheme!r} is not supported; {_EXAMPLE}"[:300])
    try:
        url = make_url(given.strip()).set(drivername=_DRIVERS[scheme])
    except (ArgumentError, ValueError) as error:
        raise _bad(f"not a URL of one host with a port from 1 to 65535; {_EXAMPLE}") from error
    if scheme == "sqlite":
        return _sqlite(url)
    if url.port is not None and not 1 <= url.port <= 65535:
        raise _bad(f"the port {url.port} is not from 1 to 65535")
    if not url.database:
        raise _bad(f"it names no database; {_EXAMPLE}")
    postgresql_options(url, read_files=False)
    return url


def _sqlite(url: URL) -> URL:
    if url.host or url.username or url.port:
        raise _bad("an absolute path has four slashes: sqlite:////folder/file")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise _bad("it names no file, and what one process keeps in memory no other can read")
    if url.query:
        raise _bad(f"{next(iter(url.query))} is not known here; a file is all that it takes")
    return url.set(database=str(Path(url.database).absolute()))


def make_place(url: URL) -> None:
    """Makes the folder of a SQLite file, if only that is missing.

    Raises:
        ConfigurationError: there can be no such file.
    """
    folder = Path(str(url.database)).parent
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError as error:
        raise _bad(f"the folder {folder} does not exist") from error
    except OSError as error:
        raise _bad(f"{folder}: {error.strerror}") from error
    check_file(url)


def check_file(url: URL) -> None:
    """Looks at a SQLite file, or at the place for one.

    Raises:
        ConfigurationError: it can't be one.
    """
    file = Path(str(url.database))
    try:
        is_folder = stat.S_ISDIR(file.stat().st_mode)
    except FileNotFoundError as error:
        if not file.parent.is_dir():
            raise _bad(f"the folder {file.parent} does not exist") from error
        return
    except OSError as error:
        raise _bad(f"{file}: {error.strerror}") from error
    if is_folder:
        raise _bad(f"{file}: {os.strerror(errno.EISDIR)}")
    if not os.access(file, os.R_OK):
        raise _bad(f"{file}: {os.strerror(errno.EACCES)}")
    if not _is_database(file):
        raise _bad(f"{file} is not an SQLite database")


def _is_database(file: Path) -> bool:
    """Lets SQLite itself look: closing a file drops all locks that this process has on it, also
    those of other connections (sqlite.org/howtocorrupt.html, section 2.2)."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        # What else is wrong, that it is locked for one, is told to who uses it.
        return error.sqlite_errorcode != sqlite3.SQLITE_NOTADB
    return True


def postgresql_options(url: URL, *, read_files: bool = True) -> PostgresqlOptions:
    """Reads what the query asks of the driver. ``read_files``: also the certificates that it names.

    Raises:
        ConfigurationError: an option that is not known, or can't be honoured.
    """
    mode, files, server = "", dict[str, str](), dict[str, str]()
    timeout_s: float | None = None
    session: str | None = None
    for name, given in url.query.items():
        if not isinstance(given, str):
            raise _bad(f"{name} is given more than once")
        match name:
            case "sslmode" | "ssl":
                mode = {"true": "require", "false": "disable"}.get(given, given)
                _one_of(name, mode, _SSL_MODES)
            case "sslrootcert" | "sslcert" | "sslkey" | "sslpassword":
                files[name] = given
            case "target_session_attrs":
                session = _one_of(name, given, _SESSIONS)
            case "connect_timeout":
                timeout_s = _seconds(name, given)
            case "application_name" | "options":
                server[name] = given
            case "channel_binding":
                if given == "require":
                    raise _bad(
                        "channel_binding=require can't be honoured, the driver has none; leave it "
                        "out, and let sslmode=verify-full make sure of the server"
                    )
                _one_of(name, given, ("disable", "prefer"))
            case "gssencmode":
                _one_of(name, given, ("disable", "prefer"))
            case _:
                raise _bad(f"{name} is not known here; leave it out")
    if files and mode in ("", "disable", "allow", "prefer"):
        if mode == "disable":
            raise _bad("certificates and sslmode=disable contradict each other")
        mode = "verify-ca" if "sslrootcert" in files else "require"
    if read_files and (files or mode.startswith("verify")):
        return PostgresqlOptions(_context(mode, files), timeout_s, session, server)
    return PostgresqlOptions(mode or None, timeout_s, session, server)


def _context(mode: str, files: dict[str, str]) -> ssl.SSLContext:
    """Makes a TLS context as libpq does: a root certificate is looked at whatever the mode; without
    one the system's count."""
    root = files.get("sslrootcert", "system")
    named = "sslrootcert"
    try:
        context = ssl.create_default_context(cafile=None if root == "system" else root)
        if mode == "require" and "sslrootcert" not in files:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif mode != "verify-full":
            context.check_hostname = False
        if "sslcert" in files:
            named = "sslcert"
            password = files.get("sslpassword", "")
            context.load_cert_chain(files["sslcert"], files.get("sslkey"), password=password)
    except OSError as error:
        why = "is no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise _bad(f"{named}={files.get(named, root)}: {why}") from error
    return context


def _one_of(name: str, given: str, known: tuple[str, ...]) -> str:
    if given not in known:
        raise _bad(f"{name}={given} is none of {', '.join(known)}")
    return given


def _seconds(name: str, given: str) -> float | None:
    """Reads a number of seconds; None for 0, which is no limit of its own."""
    if not (given.isascii() and given.isdigit() and int(given) <= 86400):
        raise _bad(f"{name}={given} is not a number of seconds")
    return float(given) or None


def _bad(why: str) -> ConfigurationError:
    return ConfigurationError(f"READ_MODEL_URL: {why}")
