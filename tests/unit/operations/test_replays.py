"""Which replays may run, and how their ends are written down."""

from collections.abc import Sequence

import pytest

from operations.partners.replays import MOST, MOST_OF_PARTNER, check_running
from operations.partners.stretches import read_offsets
from runtime.errors import ConfigurationError
from schemas.registry import Replay
from tests.examples_of import TIME


def replays(count: int, partner_id: str = "a", status: str = "running") -> list[Replay]:
    return [
        Replay(
            partner_id=partner_id,
            number=number,
            org_id="acme",
            types=("*",),
            start_offsets=(0,),
            end_offsets=(1,),
            created_at=TIME,
            status=status,  # type: ignore[arg-type]
        )
        for number in range(1, count + 1)
    ]


def refusal(there: Sequence[Replay]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        check_running(there, "a")
    return str(refused.value)


def test_so_many_replays_of_a_partner_run_at_once_and_no_more() -> None:
    check_running([*replays(MOST_OF_PARTNER - 1), *replays(9, "b", "ended")], "a")
    check_running(replays(30, status="cancelled"), "a")
    check_running(replays(MOST_OF_PARTNER, "b"), "a")
    assert refusal(replays(MOST_OF_PARTNER)).startswith("4 replays of a run already")


def test_so_many_replays_of_all_partners_run_at_once_and_no_more() -> None:
    check_running(replays(MOST - 1, "b"), "a")
    told = refusal(replays(MOST, "b"))
    assert told.startswith("16 replays of all partners together run already")
    assert "lockstream partner cancel" in told


def test_offsets_name_one_for_each_partition() -> None:
    assert read_offsets("--from", "offsets:12,0,7", 3) == [12, 0, 7]
    assert read_offsets("--from", "offsets: 12, 0", 2) == [12, 0]
    for text in ("offsets:", "offsets:1,2", "offsets:1,2,3,4", "offsets:1,,3", "offsets:-1,2,3"):
        with pytest.raises(ConfigurationError, match=r"--to: .* does not name 3 .*offsets:0,0,0$"):
            read_offsets("--to", text, 3)
    with pytest.raises(ConfigurationError, match=r"write offsets:0,0,0,…$"):
        read_offsets("--to", "offsets:1", 12)
