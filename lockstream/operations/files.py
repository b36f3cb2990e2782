"""Files that others may read while we write them."""

import os
from pathlib import Path


def write_atomically(file: Path, content: bytes, mode: int) -> None:
    """Readers see the old content or the new, never a part; the mode holds from the first byte."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as output:
        output.write(content)
        output.flush()
        os.fsync(output.fileno())
    os.replace(temporary, file)
