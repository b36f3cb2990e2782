from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from schemas.api_keys import (
    generate_key,
    hash_key,
    is_live,
    is_valid,
    key_id_of,
)
from schemas.primitives import write_time
from schemas.registry import ApiKey
from tests.examples_of import TIME

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def entry_of(key_id: str, key: str) -> ApiKey:
    return ApiKey(key_id=key_id, org_id="acme", sha256=hash_key(key), created_at=TIME)


def test_a_key_says_its_id_and_passes_its_own_checksum() -> None:
    key_id, key = generate_key()
    assert key.startswith(f"lk_live_{key_id}_")
    assert key_id_of(key) == key_id
    assert is_valid(key, entry_of(key_id, key), NOW)


def test_a_typo_is_noticed_without_a_look_up() -> None:
    _, key = generate_key()
    for at in range(len(key)):
        typo = key[:at] + ("x" if key[at] != "x" else "y") + key[at + 1 :]
        assert key_id_of(typo) is None


@pytest.mark.parametrize("key", ["", "lk_live_", "é" * 70, "x" * 10000, "lk_test_abc_def"])
def test_what_is_no_key_is_refused(key: str) -> None:
    assert key_id_of(key) is None
    assert not is_valid(key, None, NOW)


def test_another_keys_secret_is_refused() -> None:
    key_id, key = generate_key()
    _, other = generate_key()
    assert not is_valid(other, entry_of(key_id, key), NOW)


def test_expired_and_revoked_keys_are_refused() -> None:
    key_id, key = generate_key()
    entry = entry_of(key_id, key)
    soon, past = write_time(NOW + timedelta(seconds=1)), write_time(NOW - timedelta(seconds=1))
    assert is_valid(key, msgspec.structs.replace(entry, not_after=soon), NOW)
    assert not is_valid(key, msgspec.structs.replace(entry, not_after=past), NOW)
    assert not is_valid(key, msgspec.structs.replace(entry, revoked_at=past), NOW)


KNOWN = "lk_live_abcDEF123456_" + "s" * 43 + "2ugOSi"


def test_keys_and_hashes_of_before_stay_good() -> None:
    """Whoever holds a key must be able to use the next release."""
    assert key_id_of(KNOWN) == "abcDEF123456"
    assert hash_key(KNOWN) == "a26a490115037794be8fcd727d8641ff3750332ac42acd1ba42880c796362ad5"
    assert key_id_of(KNOWN[:-6] + "000000") is None


def test_keys_are_not_alike_and_use_the_whole_alphabet() -> None:
    keys = [generate_key() for _ in range(100)]
    assert len({key_id for key_id, _ in keys}) == len({key for _, key in keys}) == 100
    secrets = "".join(key[21:64] for _, key in keys)
    assert len(set(secrets)) == 62
    assert all(len(key_id) == 12 and len(key) == 70 for key_id, key in keys)


def test_a_key_ends_at_the_moment_that_it_names() -> None:
    key_id, key = generate_key()
    entry = msgspec.structs.replace(entry_of(key_id, key), not_after=write_time(NOW))
    assert is_live(entry, NOW - timedelta(milliseconds=1))
    assert not is_live(entry, NOW)
    assert not is_valid(key, entry, NOW)
    assert is_live(entry_of(key_id, key), NOW)


def test_nobodys_key_is_valid_for_nobody() -> None:
    assert not is_valid("nobody's", None, NOW)
