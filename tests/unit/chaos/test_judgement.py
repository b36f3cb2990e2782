"""When the load has ended: what `verify`, the readers and the processes show."""

import json
from pathlib import Path
from typing import get_args

import pytest

from chaos import judgement, replicas
from chaos.foreign import judge_foreign
from chaos.history import Broken, Logged, check_order
from chaos.judgement import (
    MAY_BE_LAG,
    _audited,
    _found,
    _logged,
    _read_audit,
    _too_large,
    lasts,
)
from chaos.watcher import Watcher
from eventlog.kafka import Kafka
from eventlog.records import Record
from operations.audit.violations import Kind
from runtime.settings import Settings
from schemas.lock_events import Event, encode_event
from schemas.undecodable import Undecodable
from tests.examples_of import created_event, used_event
from tests.unit.chaos.planted import finds
from tests.unit.chaos.scripted import Scripted
from tests.unit.chaos.test_scene import Ourselves


def test_only_what_is_found_in_the_read_model_may_go_away_again() -> None:
    kinds = set(get_args(Kind))
    assert kinds >= MAY_BE_LAG
    assert {kind for kind in kinds if not lasts({"kind": kind})} == {
        kind for kind in kinds if kind.startswith("read-model")
    }


@pytest.mark.parametrize(
    ("event", "temp_key"), [(used_event(8, 3), "key-1"), (created_event(8), None)]
)
def test_a_committed_record_is_judged_by_what_it_says(event: Event, temp_key: str | None) -> None:
    record = Record(2, 41, 0, b"8", encode_event(event), ())
    assert _logged(record) == Logged(2, 41, str(event.event_id), 8, event.version, temp_key)
    with pytest.raises(Undecodable):
        _logged(Record(2, 42, 0, b"8", None, ()))


AUDIT = '{"ok":false,"violations":1,"partnerLag":{"crm":3},"shown":[{"kind":"version-gap"}]}'


def test_the_verdict_of_verify_is_found_among_what_it_prints() -> None:
    audit = _read_audit(f"reading …\n{AUDIT}\n" + '{"ok":true}')
    assert audit is not None
    assert (audit.ok, audit.violations, audit.partner_lag) == (False, 1, {"crm": 3})
    assert _found(audit.shown[0]) == Broken("verify finds nothing", "{'kind': 'version-gap'}")
    assert _read_audit("Traceback\n  {no verdict}") is None
    assert _read_audit("") is None


# -- verify, again and again until all is folded and delivered -------------------------------------


def verdict(*kinds: str, lag: dict[str, int] | None = None) -> tuple[int, str]:
    shown = [{"kind": kind, "topic": "lock-events", "offset": 4} for kind in kinds]
    said = {"ok": not kinds, "violations": len(kinds), "partnerLag": lag or {}, "shown": shown}
    return int(bool(kinds)), f"verifying …\n{json.dumps(said)}\n"


SOUND = verdict()


@pytest.fixture
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that does not come at once does not come."""
    monkeypatch.setattr(judgement, "SETTLED_S", 0.0)
    monkeypatch.setattr(judgement, "AGAIN_S", 0.0)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "AGAIN_S", 0.0)


@pytest.mark.usefixtures("soon")
async def test_what_is_being_folded_and_delivered_is_waited_for(system: Scripted) -> None:
    late = verdict("read-model-differs", "read-model-empty", lag={"acme-crm": 3})
    system.results = [late, verdict(lag={"acme-crm": 1, "globex-crm": 2}), SOUND]
    assert await _audited(system) == []
    assert system.ran == [("verify", "--json")] * 3


@pytest.mark.usefixtures("in_no_time")
async def test_partners_that_are_held_back_on_purpose_are_not_waited_for(system: Scripted) -> None:
    system.results = [verdict(lag={"held-back-1": 20_000})]
    assert await _audited(system) == []


@pytest.mark.usefixtures("soon")
@finds("verify finds nothing")
async def test_a_violation_in_the_log_that_goes_away_again_is_found_all_the_same(
    system: Scripted,
) -> list[Broken]:
    system.results = [verdict("version-gap"), verdict("read-model-differs"), SOUND]
    found = await _audited(system)
    assert "version-gap" in found[0].detail
    return found


@pytest.mark.usefixtures("in_no_time")
@finds("verify finds nothing")
async def test_a_read_model_that_stays_different_is_found(system: Scripted) -> list[Broken]:
    system.results = [verdict("read-model-differs")]
    return await _audited(system)


@pytest.mark.usefixtures("in_no_time")
@finds("verify finds nothing", "verify finds nothing")
async def test_all_that_verify_shows_at_the_end_is_found_once(system: Scripted) -> list[Broken]:
    system.results = [verdict("version-gap", "read-model-differs")]
    return await _audited(system)


@pytest.mark.usefixtures("in_no_time")
@finds("every partner has everything")
async def test_a_partner_that_never_gets_all_is_found(system: Scripted) -> list[Broken]:
    system.results = [verdict(lag={"acme-crm": 3, "acme-bi": 0})]
    return await _audited(system)


@finds("verify gives a verdict")
async def test_an_audit_that_ends_without_a_verdict_is_found(system: Scripted) -> list[Broken]:
    system.results = [(1, "Traceback (most recent call last): …")]
    return await _audited(system)


# -- readers, processes, foreign records -----------------------------------------------------------


def watched(*offsets: int) -> Watcher:
    """A reader that was given these offsets of one partition."""
    watcher = Watcher({"lock-events": Kafka(Settings(), "test")}, 2)
    for offset in offsets:
        watcher._take("lock-events", [Record(1, offset, 0, b"7", b"%d" % offset, ())])
    return watcher


async def test_a_reader_that_is_given_each_record_once_breaks_nothing() -> None:
    watcher = watched(0, 1, 3, 4)
    assert check_order(watcher.out_of_order) == []
    assert [seen.offset for seen in watcher.seen] == [0, 1, 3, 4]
    assert watcher.latest("lock-events").keys() == {1}


@finds("a reader is given each record once, in order")
async def test_a_record_that_a_reader_is_given_again_is_found() -> list[Broken]:
    return check_order(watched(0, 1, 1, 2).out_of_order)


@finds("a reader is given each record once, in order")
async def test_a_record_that_a_reader_is_given_too_late_is_found() -> list[Broken]:
    return check_order(watched(0, 2, 1).out_of_order)


@finds("memory stays bounded")
async def test_a_replica_that_has_taken_too_much_is_found_at_the_end(
    system: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Broken]:
    monkeypatch.setattr(replicas, "MOST_MEMORY_MIB", 1)
    system.fleet.add("api")
    system.fleet.replicas["projector"].append(Ourselves("projector", 1, 0, tmp_path))
    return _too_large(system)


STREAM, PARTNER = ("lock-events", 4), ("partner.acme-crm.lock-events", 9)


def named(*places: tuple[str, int]) -> str:
    shown = [{"topic": topic, "offset": offset} for topic, offset in places]
    return "verifying …\n" + json.dumps({"shown": shown})


def test_a_foreign_record_that_is_told_named_and_not_spread_breaks_nothing() -> None:
    places = (STREAM, PARTNER)
    assert judge_foreign(named(*places), places, said=True, spread=False) == []


@finds("a foreign record is detected")
def test_a_fan_out_that_does_not_tell_of_a_foreign_record_is_found() -> list[Broken]:
    return judge_foreign(named(STREAM), [STREAM], said=False, spread=False)


@finds("a foreign record is not spread")
def test_a_foreign_record_that_a_partner_gets_is_found() -> list[Broken]:
    return judge_foreign(named(STREAM), [STREAM], said=True, spread=True)


@pytest.mark.parametrize(
    "output", [named(STREAM), named(STREAM, (PARTNER[0], 8)), named(STREAM, ("lock-events", 9))]
)
@finds("verify names a foreign record")
def test_a_foreign_record_that_verify_does_not_name_is_found(output: str) -> list[Broken]:
    return judge_foreign(output, [STREAM, PARTNER], said=True, spread=False)


@finds("verify names a foreign record")
def test_a_verify_that_gives_no_verdict_names_nothing() -> list[Broken]:
    return judge_foreign("Traceback", [STREAM], said=True, spread=False)
