"""Makes and checks API keys: ``lk_live_<keyId>_<secret><checksum>``.

``keyId``: 12 base62 characters; ``secret``: 43, which is 256 bits; ``checksum``: the CRC-32 of all
before it, 6 base62 digits, so that typos and secret scanners need no look-up. Only the SHA-256 of
the whole key is kept: the secret has full entropy, so a slow hash would protect nothing more and
let callers exhaust our CPU.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from datetime import datetime

from schemas.primitives import read_time
from schemas.registry import ApiKey

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORMAT = re.compile(r"^lk_live_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})\Z")
_NOBODYS_HASH = hashlib.sha256(b"nobody's").hexdigest()


def generate_key() -> tuple[str, str]:
    """Makes a new key: ``(keyId, key)``."""
    key_id = _random(12)
    body = f"lk_live_{key_id}_{_random(43)}"
    return key_id, body + _checksum(body)


def _random(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = []
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


def hash_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def key_id_of(key: str) -> str | None:
    """Returns the key's id, or None if its format or its checksum is wrong."""
    if not key.isascii():
        return None
    match = _FORMAT.match(key)
    if match is None or _checksum(key[:-6]) != match.group(3):
        return None
    return match.group(1)


def is_valid(key: str, entry: ApiKey | None, now: datetime) -> bool:
    """Checks a key against its entry, in the same time whether or not there is one."""
    expected = entry.sha256 if entry is not None else _NOBODYS_HASH
    matches = hmac.compare_digest(hash_key(key), expected)
    return matches and entry is not None and is_live(entry, now)


def is_live(entry: ApiKey, now: datetime) -> bool:
    if entry.revoked_at is not None:
        return False
    return entry.not_after is None or now < read_time(entry.not_after)
