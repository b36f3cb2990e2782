"""What a rotation does to the old keys, and what it refuses."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from operations.organizations.key_rotation import MAX_OVERLAP, Rotation, plan_rotation
from runtime.errors import ConfigurationError
from schemas.primitives import write_time
from schemas.registry import ApiKey
from tests.examples_of import TIME

NOW = datetime(2026, 11, 23, tzinfo=UTC)
WEEK = timedelta(days=7)
SOON, LATER = write_time(NOW + timedelta(days=1)), write_time(NOW + timedelta(days=90))
PAST = write_time(NOW - timedelta(days=1))


def key(key_id: str, org_id: str = "acme", **changed: Any) -> ApiKey:
    entry = ApiKey(key_id=key_id, org_id=org_id, sha256="5e" * 32, created_at=TIME)
    return msgspec.structs.replace(entry, **changed)


KEYS = [
    key("endless"),
    key("later", not_after=LATER),
    key("soon", not_after=SOON),
    key("expired", not_after=PAST),
    key("revoked", revoked_at=PAST),
    key("theirs", "globex"),
]


def ends(wish: Rotation) -> dict[str, str | None]:
    return {e.key_id: e.not_after for e in plan_rotation(wish, KEYS, NOW)}


def test_every_live_key_of_the_organisation_ends_after_the_overlap_and_none_later_than_before() -> (
    None
):
    until = write_time(NOW + WEEK)
    assert ends(Rotation("acme", None, WEEK)) == {"endless": until, "later": until, "soon": SOON}


def test_a_chosen_key_ends_and_the_others_stay() -> None:
    until = write_time(NOW + WEEK)
    assert ends(Rotation("acme", "later", WEEK)) == {"later": until}
    assert ends(Rotation(None, "theirs", WEEK)) == {"theirs": until}


@pytest.mark.parametrize(
    ("org_id", "key_id", "said"),
    [
        ("nobody", None, "nobody has no live key"),
        (None, "unknown", "there is no key unknown"),
        ("acme", "theirs", "not one of acme"),
        (None, "revoked", "revoked or expired"),
        (None, "expired", "revoked or expired"),
    ],
)
def test_what_can_not_be_rotated_is_said(org_id: str | None, key_id: str | None, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ends(Rotation(org_id, key_id, WEEK))


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Rotation(None, None, WEEK), "--org"),
        (Rotation("acme", None, timedelta(0)), "--overlap"),
        (Rotation("acme", None, timedelta(days=366)), "--overlap"),
        (Rotation("acme", None, WEEK, timedelta(days=7)), "--expires"),
    ],
)
def test_what_nobody_can_mean_is_refused(wish: Rotation, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        wish.check()
    Rotation("acme", None, WEEK, timedelta(days=8)).check()


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        act()
    return str(refused.value)


def test_each_refusal_says_what_to_do_instead() -> None:
    assert refusal(Rotation(None, None, WEEK).check) == (
        "name the organisation (--org) or one key (--id)"
    )
    assert refusal(Rotation("acme", None, timedelta(0)).check) == (
        "--overlap: without one the old key ends before its holder has the new one; "
        "`lockstream key revoke` ends a key at once"
    )
    over = MAX_OVERLAP + timedelta(seconds=1)
    assert refusal(Rotation("acme", None, over).check) == "--overlap: 365d at most"
    assert refusal(Rotation("acme", None, WEEK, WEEK).check) == (
        "--expires: the new key would end before the old ones do"
    )
    assert refusal(lambda: ends(Rotation("nobody", None, WEEK))) == (
        "nobody has no live key to rotate; `lockstream key issue --org nobody` makes its first"
    )
    assert refusal(lambda: ends(Rotation(None, "x", WEEK))) == (
        "there is no key x; `lockstream key list` shows all"
    )
    assert (
        refusal(lambda: ends(Rotation("acme", "theirs", WEEK))) == "key theirs is not one of acme"
    )
    assert refusal(lambda: ends(Rotation("acme", "revoked", WEEK))) == (
        "key revoked is revoked or expired; `lockstream key issue --org acme` makes a new one"
    )


def test_an_overlap_is_a_moment_at_least_and_a_year_at_most() -> None:
    Rotation("acme", None, timedelta(seconds=1)).check()
    Rotation(None, "k", MAX_OVERLAP).check()


def test_a_key_that_ends_as_the_overlap_does_keeps_its_entry_as_it_is() -> None:
    entry = key("k", not_after="2026-11-24T01:00:00.000+01:00")
    assert plan_rotation(Rotation(None, "k", timedelta(days=1)), [entry], NOW) == [entry]
