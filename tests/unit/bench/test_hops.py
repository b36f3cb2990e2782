import msgspec

from bench.hops import (
    ACKNOWLEDGED,
    ADMITTED,
    ANSWERED,
    COMMITTED,
    DECIDED,
    DELIVERED,
    EVENT_SENT,
    EVENT_TAKEN,
    FACT_SENT,
    FACT_TAKEN,
    REQUEST,
    TO_FANOUT,
    TO_PARTNER,
    TO_PROJECTOR,
    WHOLE,
    budget,
    unprefixed,
)
from bench.profiles import shares

MS = 1_000_000


class Seen(msgspec.Struct, frozen=True):
    name: str
    trace_id: str
    started_ns: int
    ended_ns: int


TRACE = {
    REQUEST: (0, 10),
    FACT_SENT: (1, 3),
    FACT_TAKEN: (2, 7),
    EVENT_SENT: (4, 7),
    EVENT_TAKEN: (9, 12),
    DELIVERED: (9, 12),
}


def spans(trace_id: str, names: list[str]) -> list[Seen]:
    return [Seen(n, trace_id, TRACE[n][0] * MS, TRACE[n][1] * MS) for n in names]


def test_the_hops_up_to_the_answer_add_up_to_the_whole() -> None:
    found = {hop: round(s[0] * 1000) for hop, s in budget(spans("a", list(TRACE))).items()}
    assert found == {
        ADMITTED: 1,
        TO_PROJECTOR: 1,
        DECIDED: 2,
        COMMITTED: 3,
        ANSWERED: 3,
        WHOLE: 10,
        ACKNOWLEDGED: 2,
        TO_FANOUT: 2,
        TO_PARTNER: 3,
    }


def test_a_trace_that_lacks_a_span_is_left_out_whole() -> None:
    found = budget([*spans("a", list(TRACE)), *spans("b", list(TRACE)[:-1])])
    assert {len(seconds) for seconds in found.values()} == {1}


def test_an_installations_prefix_is_no_part_of_a_hop() -> None:
    assert unprefixed("send bench1.lock-facts") == FACT_SENT
    assert unprefixed("send bench1.partner.{partnerId}.lock-events") == DELIVERED
    assert unprefixed(REQUEST) == REQUEST


def test_a_profile_tells_whose_code_was_on_top() -> None:
    library = "/x/.venv/lib/python3.11/site-packages/aiokafka/producer/sender.py:7"
    stacks = [
        f"run (/x/runtime/process.py:1);send ({library}) 30",
        "run (/x/projector/decisions.py:1) 40",
        "wait (/usr/lib/python3.11/asyncio/runners.py:118) 15",
        "get (/usr/lib/python3.11/queue.py:12) 5",
        "lone 10",
        "",
    ]
    assert shares(stacks) == {
        "projector": 40,
        "aiokafka/producer": 30,
        "standard library: asyncio": 15,
        "lone": 10,
        "standard library: queue.py": 5,
    }
    assert list(shares(stacks, shown=1)) == ["projector"]
