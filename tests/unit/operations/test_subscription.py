"""What a change of types makes of a partner's entry."""

import msgspec
import pytest

from operations.partners.subscription import _check_changes, since, with_types
from runtime.errors import ConfigurationError
from schemas.registry import MAX_CHANGES, EarlierTypes, Partner, decode_entry, encode_entry
from tests.examples_of import TIME

ADDED = Partner(id="a", org_id="acme", types=("*",), start_offsets=(0, 5), created_at=TIME)


def test_types_hold_since_the_last_change_or_the_start() -> None:
    assert since(ADDED) == (0, 5)
    changed = with_types(ADDED, ("LockCreated",), (7, 9))
    assert (changed.types, since(changed)) == (("LockCreated",), (7, 9))
    again = with_types(changed, ("TempKeyUsed",), (7, 20))
    assert (again.types, since(again)) == (("TempKeyUsed",), (7, 20))
    assert again.earlier == (
        EarlierTypes(("*",), (7, 9)),
        EarlierTypes(("LockCreated",), (7, 20)),
    )
    assert decode_entry(encode_entry(again)) == again


def test_an_entry_holds_so_many_changes_and_no_more() -> None:
    change = EarlierTypes(("*",), (7, 9))
    _check_changes(msgspec.structs.replace(ADDED, earlier=(change,) * (MAX_CHANGES - 1)))
    full = msgspec.structs.replace(ADDED, earlier=(change,) * MAX_CHANGES)
    with pytest.raises(ConfigurationError, match=r"changed 500 times.*add another partner"):
        _check_changes(full)
    assert len(encode_entry(full)) < 100_000
