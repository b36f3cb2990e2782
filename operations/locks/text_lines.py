"""Reads the lines of a text file: numbered, in bounded memory, whatever ends them."""

import codecs
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from runtime.errors import ConfigurationError

MAX_LINE = 65_536
"""Bytes. More is no line but a damaged file, and must not be held in memory."""
_CHUNK = 65_536
_LOOK = 4_096

_OTHER_FORMATS = (
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"PK\x03\x04", "is a zip file or a spreadsheet (xlsx); unpack it, or export it as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel file (xls); export it as CSV"),
    (b"BZh", "is compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ\x00", "is compressed with xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z file; unpack it first"),
    (b"PAR1", "is a Parquet file; export it as CSV or NDJSON"),
    (b"%PDF", "is a PDF; export it as CSV"),
)
_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class TextLine(msgspec.Struct, frozen=True, gc=False):
    """One line. ``number``: from 1; ``size``: in bytes, with its end; ``text``: None if too long. A
    line longer than ``MAX_LINE`` bytes is too long."""

    number: int
    size: int
    text: str | None


def read_text_lines(name: str, stream: BinaryIO) -> Iterator[TextLine]:
    """Yields lines of UTF-8, with a byte-order mark or without, that end in LF, CRLF or CR.

    Raises:
        ConfigurationError: the file is of another format, or in another encoding.
        OSError: it can't be read.
    """
    head = stream.read(_LOOK)
    while len(head) < _LOOK and (more := stream.read(_LOOK - len(head))):
        head += more
    _refuse_other_formats(name, head)
    mark = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    at = mark
    for number, (raw, size) in enumerate(_split(head[mark:], stream), start=1):
        yield TextLine(number, size, None if raw is None else _decode(name, raw, number, at))
        at += size


def _refuse_other_formats(name: str, head: bytes) -> None:
    for magic, what in _OTHER_FORMATS:
        if head.startswith(magic):
            raise ConfigurationError(f"{name} {what} (its first byte is 0x{head[0]:02x})")
    for mark, encoding in _OTHER_ENCODINGS:
        if head.startswith(mark):
            raise ConfigurationError(
                f"{name} is {encoding} (its first bytes are 0x{mark.hex()}); save it as UTF-8"
            )
    # UTF-16 without a mark: of ASCII text every other byte is zero.
    if len(head) > 3 and (not any(head[1:64:2]) or not any(head[0:64:2])):
        at = head.index(0)
        raise ConfigurationError(f"{name} is UTF-16 (byte {at} is zero); save it as UTF-8")


def _split(head: bytes, stream: BinaryIO) -> Iterator[tuple[bytes | None, int]]:
    """Yields each line without its end, and its size with it; None for one that is too long."""
    pending, dropped = b"", 0
    chunk = head
    while True:
        parts = (pending + chunk).splitlines(keepends=True)
        pending = b""
        # After a CR at the very end an LF may still come, which belongs to it.
        if chunk and parts and not parts[-1].endswith(b"\n"):
            pending = parts.pop()
        for part in parts:
            body = part.rstrip(b"\r\n")
            yield None if dropped + len(body) > MAX_LINE else body, dropped + len(part)
            dropped = 0
        if not chunk:
            return
        if len(pending) > MAX_LINE:
            dropped += len(pending) - 1
            pending = pending[-1:]
        chunk = stream.read(_CHUNK)


def _decode(name: str, raw: bytes, number: int, at: int) -> str:
    """Decodes a line. ``at``: the byte of the file at which it begins."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{name} is not UTF-8: line {number} holds 0x{raw[error.start]:02x} at byte "
            f"{at + error.start} of the file{_guess(raw)}; save it as UTF-8"
        ) from error


def _guess(raw: bytes) -> str:
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return ""
    return " (it may be Windows-1252)"
