"""What is unread is counted by the records' sequences, and looked up no more often than needed."""

from collections.abc import Mapping

from eventlog.records import Record, TopicPartition
from fanout.unread import Marks, Ranges, Unread, furthest_behind, unread

TP, OTHER = TopicPartition("own", 0), TopicPartition("own", 1)


def record(offset: int, sequence: int, tp: TopicPartition = TP) -> Record:
    headers = (("sequence", b"%d" % sequence),)
    return Record(tp.partition, offset, 1_000 * offset, b"7", b"", headers)


class Topic:
    """Stands for ``SingleRecords``; ``asked``: the stretches whose first or last was asked for."""

    def __init__(self, records: Mapping[TopicPartition, list[Record]]) -> None:
        self.records = records
        self.asked: list[tuple[str, TopicPartition, int, int]] = []

    def _within(self, which: str, stretches: Ranges) -> dict[TopicPartition, list[Record]]:
        self.asked += [(which, tp, begin, end) for tp, (begin, end) in stretches.items()]
        found = {
            tp: [r for r in self.records.get(tp, []) if begin <= r.offset < end]
            for tp, (begin, end) in stretches.items()
        }
        return {tp: records for tp, records in found.items() if records}

    async def firsts(self, stretches: Ranges) -> dict[TopicPartition, Record]:
        return {tp: found[0] for tp, found in self._within("first", stretches).items()}

    async def lasts(self, stretches: Ranges) -> dict[TopicPartition, Record]:
        return {tp: found[-1] for tp, found in self._within("last", stretches).items()}


def every_second(count: int, tp: TopicPartition = TP) -> list[Record]:
    """A marker stands behind each record."""
    return [record(2 * n, n + 1, tp) for n in range(count)]


async def look(
    marks: Marks, topic: Topic, ranges: Ranges, *readers: Mapping[TopicPartition, int]
) -> list[Unread]:
    topic.asked.clear()
    marks.begin()
    positions: dict[TopicPartition, set[int]] = {}
    for reader in readers:
        for tp, position in reader.items():
            positions.setdefault(tp, set()).add(position)
    await marks.look_up(topic, ranges, positions, ())  # type: ignore[arg-type]
    return [unread(marks, ranges, reader) for reader in readers]


async def test_records_are_counted_and_no_markers() -> None:
    topic = Topic({TP: every_second(10), OTHER: every_second(3, OTHER)})
    ranges = {TP: (0, 20), OTHER: (0, 6)}
    found = await look(
        Marks(),
        topic,
        ranges,
        {TP: 0, OTHER: 0},
        {TP: 4, OTHER: 6},
        {TP: 3, OTHER: 5},
        {TP: 20, OTHER: 5},
    )
    assert [(one.records, one.oldest_ms) for one in found] == [
        (13, 0),
        (8, 4_000),
        (8, 4_000),
        (0, None),
    ]
    assert not any(one.taken for one in found)


async def test_the_next_record_of_several_positions_is_looked_up_once() -> None:
    topic = Topic({TP: [record(8, 1), record(9, 2), record(15, 3)]})
    found = await look(Marks(), topic, {TP: (0, 20)}, *({TP: n} for n in (0, 4, 8, 9, 12, 16)))
    assert [one.records for one in found] == [3, 3, 3, 2, 1, 0]
    assert [one for one in topic.asked if one[0] == "first"] == [
        ("first", TP, 0, 20),
        ("first", TP, 9, 20),
        ("first", TP, 12, 20),
        ("first", TP, 16, 20),
    ]


async def test_nothing_is_looked_up_again_while_nobody_moves_on() -> None:
    topic, marks = Topic({TP: every_second(10)}), Marks()
    ranges = {TP: (0, 20)}
    first = await look(marks, topic, ranges, {TP: 4}, {TP: 19})
    assert await look(marks, topic, ranges, {TP: 4}, {TP: 19}) == first
    assert topic.asked == []
    topic.records = {TP: every_second(11)}
    grown = await look(marks, topic, {TP: (0, 22)}, {TP: 4}, {TP: 19})
    assert [one.records for one in grown] == [9, 1]
    assert [one[0] for one in topic.asked] == ["first", "last"]
    moved = await look(marks, topic, {TP: (0, 22)}, {TP: 6}, {TP: 22})
    assert [one.records for one in moved] == [8, 0]


async def test_what_retention_has_taken_is_looked_up_anew_and_said() -> None:
    topic, marks = Topic({TP: every_second(10)}), Marks()
    await look(marks, topic, {TP: (0, 20)}, {TP: 2})
    topic.records = {TP: every_second(10)[5:]}
    (later,) = await look(marks, topic, {TP: (10, 20)}, {TP: 2})
    assert later == Unread(5, 10_000, taken=True)
    (by_a_marker,) = await look(marks, topic, {TP: (10, 20)}, {TP: 9})
    assert by_a_marker == Unread(5, 10_000, taken=False)


async def test_a_record_without_a_sequence_is_counted_all_the_same() -> None:
    foreign = Record(0, 4, 9, b"7", b"", ())
    (found,) = await look(Marks(), Topic({TP: [foreign]}), {TP: (0, 5)}, {TP: 0})
    assert found == Unread(1, 9)


def test_the_worst_of_several_readers_is_told() -> None:
    readers = [Unread(3, 500), Unread(), Unread(1, 200, taken=True)]
    assert furthest_behind(readers) == Unread(3, 200, taken=True)
    assert furthest_behind([]) == Unread()
