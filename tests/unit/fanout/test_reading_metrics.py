"""What ``/metrics`` shows of a partner."""

from fanout.reading import GroupReading, PartnerReading
from fanout.reading_metrics import MEANINGS, figures
from fanout.unread import Unread
from schemas.registry import Partner
from tests.examples_of import TIME

PARTNER = Partner(id="a", org_id="acme", types=("*",), start_offsets=(0,), created_at=TIME)
DAY_S = 86_400


def reading(
    unread: Unread, *groups: GroupReading, undelivered: int | None = 0, retention_ms: int | None
) -> PartnerReading:
    return PartnerReading(PARTNER, undelivered, unread, groups, 0, retention_ms)


def test_the_oldest_unread_record_has_as_long_as_retention_leaves_it() -> None:
    unread = Unread(7, 1_000_000)
    one, two = GroupReading("a", 2, unread), GroupReading("a.test", 1, Unread())
    now = 1_000 + 29 * DAY_S
    found = figures(reading(unread, one, two, undelivered=3, retention_ms=30 * DAY_S * 1000), now)
    assert found == {
        "undelivered_events": 3,
        "groups": 2,
        "group_members": 3,
        "unread_records": 7,
        "unread_seconds": 29 * DAY_S,
        "unread_retained_seconds": DAY_S,
    }
    assert found.keys() == MEANINGS.keys()


def test_what_is_not_known_or_never_comes_is_left_out() -> None:
    found = figures(reading(Unread(), undelivered=None, retention_ms=None), 5.0)
    assert found == {"groups": 0, "group_members": 0, "unread_records": 0, "unread_seconds": 0.0}
    all_read = figures(reading(Unread(), retention_ms=5_000), 1e9)
    assert all_read["unread_retained_seconds"] == 5
