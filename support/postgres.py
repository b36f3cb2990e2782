"""Starts a PostgreSQL of our own, from the server that is installed here."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runtime.ports import free_port

_STEP_S = 60


class NoPostgres(Exception):
    """Says why there is no PostgreSQL to be had."""


@contextlib.contextmanager
def throw_away_cluster() -> Iterator[str]:
    """Yields the URL of an empty cluster, which is gone afterwards: quick, and not durable.

    Raises:
        NoPostgres: no server is installed, or it does not start.
    """
    # Not below pytest's own folder: only its owner may enter that, and the server refuses to run
    # as root.
    with tempfile.TemporaryDirectory(prefix="lockstream-postgres-") as folder:
        cluster = PostgresCluster(Path(folder), "-F -c full_page_writes=off")
        cluster.start()
        try:
            yield cluster.url
        finally:
            cluster.stop()


class PostgresCluster:
    """A cluster in a folder of its own that can be stopped and started again.

    Raises:
        NoPostgres: no server is installed, or it can't be set up.
    """

    def __init__(self, folder: Path, options: str = "", port: int = 0) -> None:
        self._binaries = _find_binaries()
        self._folder = folder
        self._owner = _unprivileged() if os.geteuid() == 0 else None
        if self._owner is not None:
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)
        self._port = port or free_port(0)
        listens = f"-p {self._port} -k {folder} -c listen_addresses=127.0.0.1"
        self._options = f"{options} {listens}"
        self.url = f"postgresql://lockstream@127.0.0.1:{self._port}/postgres"
        self._run(
            "initdb", "-U", "lockstream", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"
        )

    def start(self) -> None:
        log = f"{self._folder}/log"
        self._run("pg_ctl", "-w", "-t", "30", "-l", log, "-o", self._options, "start")

    def stop(self) -> None:
        """Stops at once: what is under way is lost, as in a crash."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    def _run(self, program: str, *arguments: str) -> None:
        owner = self._owner
        try:
            subprocess.run(
                [self._binaries / program, "-D", f"{self._folder}/data", *arguments],
                check=True,
                cwd=self._folder,
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=[] if owner else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a pipe would stay open with the server
                stderr=subprocess.DEVNULL,
                timeout=_STEP_S,
            )
        except (subprocess.SubprocessError, OSError) as error:
            log = self._folder / "log"
            said = log.read_text()[-300:] if log.exists() else ""
            raise NoPostgres(f"{program} failed: {error} {said}") from error


def _find_binaries() -> Path:
    """Finds the server's programs; Debian keeps them out of PATH, a folder for each major
    version."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda initdb: int(initdb.parts[-3]) if initdb.parts[-3].isdecimal() else 0,
    )
    initdb = found[-1] if found else shutil.which("initdb")
    if initdb is None:
        raise NoPostgres("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    return Path(initdb).resolve().parent


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgres("there is no user postgres or nobody to run the server as")
