from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from lockstream.command_api.api_keys import generate_key, hash_key, is_valid, key_id_of
from lockstream.schemas.primitives import write_time
from lockstream.schemas.registry import ApiKey
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
