from typing import get_args

import pytest

from chaos.history import Broken, Logged
from chaos.judgement import MAY_BE_LAG, _found, _logged, _read_audit, lasts
from lockstream.audit.violations import Kind
from lockstream.eventlog.kafka import Record
from lockstream.schemas.lock_events import Event, encode_event
from lockstream.schemas.undecodable import Undecodable
from tests.examples_of import created_event, used_event


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
