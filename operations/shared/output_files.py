"""Writes a file or a folder that the user names: whole, or as it was before. What is new is written
beside and renamed; an interruption leaves the old file, and nothing of the new one."""

import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Protocol, TypeVar

from operations.shared.console import forget_stdout, stdout_errors
from runtime.errors import ConfigurationError

STDOUT = Path("-")
_DESCRIPTOR = re.compile(r"/(?:dev/fd/|proc/self/fd/|dev/(?=std))(stdout|stderr|[0-9]+)\Z")


class Replacement(Protocol):
    def close(self) -> None:
        """Puts what was written in its place."""

    def discard(self) -> None:
        """Leaves everything as it was."""


R = TypeVar("R", bound=Replacement)


@contextmanager
def whole(output: R) -> Iterator[R]:
    """Closes the output, or discards it if the block does not come to its end."""
    try:
        yield output
        output.close()
    except BaseException:
        output.discard()
        raise


@contextmanager
def output_errors(option: str, path: Path) -> Iterator[None]:
    """Turns errors of the system into ours.

    Raises:
        ConfigurationError: the system refuses to write there; the text says why.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"{option}: {path} can't be written: {reason}") from error


class OutputFile:
    """Writes one file, or what can't be replaced: stdout, a pipe, a device. The latter are written
    to at once. No file is made before the first byte is written."""

    def __init__(self, option: str, path: Path | None) -> None:
        """Opens what is written to at once, and checks what is replaced later.

        Raises:
            ConfigurationError: it can't be written there.
        """
        self._option = option
        self._path = STDOUT if path is None else path
        self._stream: BinaryIO | None = None
        self._beside: Path | None = None
        self._target: Path | None = None
        with output_errors(option, self._path):
            self._look()

    def _look(self) -> None:
        if self._path == STDOUT:
            if sys.stdout is None:
                raise ConfigurationError("stdout is closed: there is nowhere to write to")
            self._stream = sys.stdout.buffer
            return
        descriptor = _DESCRIPTOR.match(str(self._path))
        if descriptor is not None:
            # To open the name would empty the file that stdout goes to.
            self._stream = os.fdopen(os.dup(_number(descriptor.group(1))), "wb")
            return
        if self._path.is_dir():
            raise ConfigurationError(f"{self._option}: {self._path} is a folder; name a file")
        if _is_special(self._path):
            self._stream = self._path.open("wb")
            return
        # A link stays a link.
        self._target = self._path.resolve()
        folder = self._target.parent
        if not folder.is_dir():
            raise ConfigurationError(f"{self._option}: there is no folder {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"{self._option}: the folder {folder} can't be written: Permission denied"
            )

    def write(self, content: bytes) -> None:
        """Writes bytes.

        Raises:
            ConfigurationError: the disk is full, for one.
        """
        with self._errors():
            self._opened().write(content)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        # A pipe whose reader has gone is stdout to us, whatever its name.
        with stdout_errors(), output_errors(self._option, self._path):
            yield

    def _opened(self) -> BinaryIO:
        if self._stream is None:
            assert self._target is not None
            self._beside = _beside(self._target)
            self._stream = self._beside.open("xb")
            with suppress(FileNotFoundError):
                os.fchmod(self._stream.fileno(), stat.S_IMODE(self._target.stat().st_mode))
        return self._stream

    def close(self) -> None:
        """Puts the file in its place.

        Raises:
            ConfigurationError: the disk is full, for one.
        """
        with self._errors():
            stream = self._opened()
            stream.flush()
            if self._beside is not None and self._target is not None:
                os.fsync(stream.fileno())
                stream.close()
                self._beside.replace(self._target)
                self._beside = None
                _sync_folder(self._target.parent)
            elif self._path != STDOUT:
                stream.close()

    def discard(self) -> None:
        if self._stream is not None and self._path != STDOUT:
            with suppress(OSError):
                self._stream.close()
        if self._path == STDOUT:
            # What is left would fail once more when Python ends.
            forget_stdout()
        if self._beside is not None:
            self._beside.unlink(missing_ok=True)


class OutputFolder:
    """Replaces a set of files by another: old and new never lie beside each other. Other files in
    the folder stay."""

    def __init__(self, option: str, folder: Path, belongs: Callable[[str], object]) -> None:
        """Makes a place for the new set. ``belongs``: whether a file of this name is of the set.

        Raises:
            ConfigurationError: it can't be written there.
        """
        self._option, self._belongs = option, belongs
        with output_errors(option, folder):
            self._is_new = not _exists(folder)
            self._folder = folder.resolve()
            if not self._is_new and not folder.is_dir():
                raise ConfigurationError(f"{option}: {folder} is not a folder")
            if self._is_new:
                self._folder.parent.mkdir(parents=True, exist_ok=True)
            # A folder that is there may be a mount, which has no room beside it.
            self._beside = _beside(self._folder if self._is_new else self._folder / "files")
            self._beside.mkdir()

    def path(self, name: str) -> Path:
        """Returns where to write this file of the set for now."""
        return self._beside / name

    def close(self) -> None:
        """Puts the set in its place.

        Raises:
            ConfigurationError: the disk is full, for one.
        """
        with output_errors(self._option, self._folder):
            for file in self._beside.iterdir():
                _sync(file)
            if self._is_new:
                self._beside.replace(self._folder)
                _sync_folder(self._folder.parent)
            else:
                self._change_places()
                _sync_folder(self._folder)

    def _change_places(self) -> None:
        made = sorted(self._beside.iterdir())
        away = self._beside / "before"
        away.mkdir()
        before = [f for f in self._folder.iterdir() if f.is_file() and self._belongs(f.name)]
        # All old ones go before the first new one comes.
        for file in before:
            file.rename(away / file.name)
        try:
            for file in made:
                file.rename(self._folder / file.name)
        except OSError:
            for file in made:
                (self._folder / file.name).unlink(missing_ok=True)
            for file in before:
                (away / file.name).rename(file)
            raise
        shutil.rmtree(self._beside)

    def discard(self) -> None:
        shutil.rmtree(self._beside, ignore_errors=True)


def _exists(path: Path) -> bool:
    """Tells whether the path exists; unlike ``Path.exists``, raises where that can't be known."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _number(descriptor: str) -> int:
    return {"stdout": 1, "stderr": 2}.get(descriptor) or int(descriptor)


def _is_special(path: Path) -> bool:
    """Tells whether the path is written in place: neither a regular file nor a name for a new
    one."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _beside(target: Path) -> Path:
    return target.with_name(f".lockstream-{token_hex(6)}.part")


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes a new name survive a power cut, where the file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
