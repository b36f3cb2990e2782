"""Files that others may read while we write them, and locks that end with their holder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_POLL_S = 0.02


def write_atomically(file: Path, content: bytes, mode: int = 0o644) -> None:
    """Readers see the old content or the new, never a part; the mode holds from the first byte."""
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


@contextmanager
def locked(file: Path, patience_s: float, refusal: Exception) -> Iterator[IO[str]]:
    """Holds a lock that the kernel lets go of when this process ends, however it ends.

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
