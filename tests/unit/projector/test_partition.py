"""What a partition of the projector forgets, and when."""

from pathlib import Path

import pytest

from projector import lock_states
from projector.fold_queue import FoldQueue
from projector.metrics import ProjectorMetrics
from projector.partition_model import PartitionModel
from read_model.fold import CommittedEvent, ParkedFact, Stretch
from read_model.opening import open_read_model
from runtime.readiness import Readiness
from runtime.settings import Settings
from schemas.parked_facts import ParkedHeaders
from tests.examples_of import TIME, created_event


def partition_in(folder: Path) -> PartitionModel:
    settings, readiness = Settings(state_dir=folder), Readiness()
    model = open_read_model(settings)
    queue = FoldQueue(model, readiness, ProjectorMetrics(readiness, list))
    return PartitionModel(0, model, queue, fail=lambda error: pytest.fail(str(error)))


def test_what_a_batch_has_changed_is_kept_until_its_events_are_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parked facts are folded first, and say nothing of them."""
    monkeypatch.setattr(lock_states, "LOCKS_KEPT", 0)
    partition = partition_in(tmp_path)
    states, event = partition.states, created_event()
    batch = states.begin_batch()
    states.record(event)
    parked = ParkedFact(0, ParkedHeaders("unknown-lock", "", "lock-facts", 3, TIME))
    partition.folded(batch, Stretch(0, 0, 1, parked=[parked]))
    states.forget()
    assert states.lock(7) is not None
    partition.folded(batch, Stretch(0, 0, 1, events=[CommittedEvent(0, 0, event, b"")]))
    states.forget()
    assert states.lock(7) is None
