"""What one partner may use is nobody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.acls import Acl
from operations.partners.boundary import check_apart, next_user, partner_acls
from runtime.errors import ConfigurationError
from schemas.registry import Partner, PartnerCredential
from schemas.topics import LockTopics

TOPICS = LockTopics("", 3)
IDS = st.from_regex(r"[a-c._-]{1,6}(\.lock-events|\.replay)?\Z").filter(
    lambda text: text.strip(".")
)


def reaches(acl: Acl, resource: str, name: str) -> bool:
    if acl.resource != resource:
        return False
    return name.startswith(acl.name) if acl.prefixed else name == acl.name


@pytest.mark.parametrize(
    ("one", "other"),
    [("acme", "acme.eu"), ("acme.eu", "acme"), ("acme", "acme.lock-events"), ("a", "a.b.c")],
)
def test_an_id_that_begins_with_another_is_refused(one: str, other: str) -> None:
    with pytest.raises(ConfigurationError, match="consumer group"):
        check_apart(one, [other])


@pytest.mark.parametrize("name", ["projector", "fanout", "fanout.acme", "projector.x"])
def test_our_own_groups_are_nobodys(name: str) -> None:
    with pytest.raises(ConfigurationError, match="our own"):
        check_apart(name, [])


@pytest.mark.parametrize(("one", "other"), [("acme", "acme-eu"), ("acme", "acmeeu"), ("a", "b")])
def test_ids_that_only_look_alike_are_told_apart(one: str, other: str) -> None:
    check_apart(one, [other])


@given(IDS, IDS)
def test_no_rule_of_a_partner_reaches_what_is_anothers(one: str, other: str) -> None:
    if one == other:
        return
    try:
        check_apart(one, [other])
    except ConfigurationError:
        return
    theirs = TOPICS.partner_events(other)
    for acl in partner_acls(TOPICS, one, "u"):
        for topic in (theirs, f"{theirs}.replay.1", TOPICS.lock_events, TOPICS.registry):
            assert not reaches(acl, "topic", topic)
        for group in (other, f"{other}.reader", "projector", f"fanout.{other}", f"fanout.{one}"):
            assert not reaches(acl, "group", group)
        assert acl.operation in ("read", "describe")


@given(IDS)
def test_a_partner_reaches_its_own(one: str) -> None:
    rules = partner_acls(TOPICS, one, "u")
    own = TOPICS.partner_events(one)
    for resource, name in (
        ("topic", own),
        ("topic", f"{own}.replay.3"),
        ("group", one),
        ("group", f"{one}.reader"),
    ):
        assert any(reaches(acl, resource, name) for acl in rules)


def test_no_user_of_a_partner_has_a_name_twice() -> None:
    entry = Partner(
        id="acme", org_id="o", types=("*",), start_offsets=(0,), created_at="2026-11-28T00:00:00Z"
    )
    assert next_user(TOPICS, entry) == "acme/1"
    revoked = PartnerCredential("acme/1", entry.created_at, entry.created_at)
    entry = Partner(
        **{
            **{f: getattr(entry, f) for f in entry.__struct_fields__},
            "credentials": (revoked,),
        }
    )
    assert next_user(LockTopics("p-", 3), entry) == "p-acme/2"
    assert entry.users == ()
