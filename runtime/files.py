"""Writes files that others may read meanwhile, and holds files that end with their holder."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_POLL_S = 0.02


def write_atomically(file: Path, content: bytes, mode: int = 0o644) -> None:
    """Writes a file: readers see the old content or the new, and the mode from the first byte."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as output:
            output.write(content)
            output.flush()
            os.fsync(output.fileno())
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


PRIVATE_UMASK = 0o077


def keep_private() -> None:
    """Makes what this process and its children write readable by this user only. These files
    say who opened which lock, and hold keys."""
    os.umask(PRIVATE_UMASK)


def make_private(folder: Path) -> None:
    """Makes the folder where it is missing, and takes others' rights to what is in it. Files of
    other users, and files that vanish meanwhile, are left alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for parent, _, names in os.walk(folder):
        for path in (Path(parent), *(Path(parent, name) for name in names)):
            with suppress(FileNotFoundError, PermissionError):
                mode = stat.S_IMODE(path.lstat().st_mode)
                if mode & PRIVATE_UMASK and not path.is_symlink():
                    path.chmod(mode & ~PRIVATE_UMASK)


@contextmanager
def held_file(file: Path, patience_s: float, refusal: Exception) -> Iterator[IO[str]]:
    """Holds a file that no other process can hold until this one ends, however it ends.

    Raises:
        refusal: another process holds it, and did for ``patience_s``.
    """
    deadline = time.monotonic() + patience_s
    with file.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise refusal from None
                time.sleep(_POLL_S)
        yield handle
