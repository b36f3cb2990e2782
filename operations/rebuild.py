"""``lockstream rebuild``: folds the read model again from the log."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

import msgspec

from eventlog.kafka import stable_ends
from eventlog.log_reader import LogReader
from eventlog.records import Record
from operations.shared.console import print_json, progress_bar, say
from operations.shared.installation import Installation, run_on_installation
from operations.shared.offset_ranges import OffsetRanges
from operations.shared.options import AsJson
from read_model.fold import Stretch
from read_model.folding import ReadModelMoved
from read_model.stretches import read_parked, read_stretch
from runtime.errors import PositionLost, Unavailable
from runtime.waiting import prefetched

TRANSACTION_EVENTS = 10_000
"""How many events one transaction of the read model takes at least."""

Ends = Mapping[int, int]


class Rebuilt(msgspec.Struct, frozen=True):
    events: int
    parked: int


def rebuild(
    as_json: AsJson = False,
) -> None:
    """Empty the read model, and fold all events and parked facts into it again.

    Services may run meanwhile: they answer 503 for what is not folded in yet."""

    async def verb(here: Installation) -> Rebuilt:
        await here.require_read_model_url()
        await here.read_model.prepare()
        return await rebuild_read_model(here)

    rebuilt = run_on_installation(verb)
    if as_json:
        print_json(msgspec.structs.asdict(rebuilt))
    else:
        say(
            f"the read model is rebuilt from {rebuilt.events:,} events "
            f"and {rebuilt.parked:,} parked facts"
        )


async def rebuild_read_model(here: Installation) -> Rebuilt:
    """Rebuilds the read model; a projector may fold meanwhile, since each record counts once.

    Raises:
        Unavailable: Kafka or the database can't be reached, or another rebuild has begun.
        StreamViolation: the log holds what no projector wrote.
    """
    topics = here.settings.topics
    # Before anything is thrown away: from a log that can't be read nothing can be filled. Parked
    # facts after events: what was parked beside the last of the events must not be missing.
    ends = await stable_ends(here.kafka, topics.lock_events, topics.numbers)
    parked_ends = await stable_ends(here.kafka, topics.parked_facts, topics.numbers)
    generation = await here.read_model.reset()
    try:
        parked = await _refold_parked(here, parked_ends, generation)
        events = await _refold_events(here, ends, generation)
    except ReadModelMoved as error:
        raise Unavailable(
            "the read model was emptied by another rebuild meanwhile; "
            "that one, or a running projector, fills it"
        ) from error
    return Rebuilt(events, parked)


async def _refold_parked(here: Installation, ends: Ends, generation: int) -> int:
    """Folds the parked facts, before the events: a fact that is not parked then never was."""
    topic = here.settings.topics.parked_facts
    while True:
        async with here.kafka.offsets_client() as client, LogReader.open(here.kafka) as reader:
            begins = await client.beginnings(topic, list(ends))
            try:
                return await _fold_parked(here, reader, begins, ends, generation)
            except PositionLost:
                if begins == await client.beginnings(topic, list(ends)):
                    raise
                # Retention has deleted more between the question and the reading.


async def _fold_parked(
    here: Installation, reader: LogReader, begins: Ends, ends: Ends, generation: int
) -> int:
    topic = here.settings.topics.parked_facts
    reached = dict(begins)
    folded = 0
    with progress_bar(
        "folding parked facts", OffsetRanges(begins, ends).size, "offsets"
    ) as advance:
        async for records in reader.read(topic, begins, ends):
            partition, end = records[0].partition, records[-1].offset + 1
            parked = [read_parked(topic, record) for record in records]
            stretch = Stretch(
                partition, reached[partition], end, parked=parked, generation=generation
            )
            await here.read_model.apply_parked([stretch])
            advance(end - reached[partition])
            reached[partition] = end
            folded += len(parked)
    return folded


async def _refold_events(here: Installation, ends: Ends, generation: int) -> int:
    topic = here.settings.topics.lock_events
    begins = dict.fromkeys(ends, 0)
    folded = 0
    with progress_bar("folding", OffsetRanges(begins, ends).size, "offsets") as advance:
        async with LogReader.open(here.kafka) as reader:
            batches = _batches(reader.read(topic, begins, ends), topic, begins)
            async with aclosing(prefetched(batches)) as prepared:
                async for batch in prepared:
                    await here.read_model.apply(_of_generation(batch, generation))
                    folded += sum(len(stretch.events) for stretch in batch)
                    advance(sum(stretch.end - stretch.begin for stretch in batch))
    return folded


def _of_generation(stretches: Sequence[Stretch], generation: int) -> list[Stretch]:
    return [msgspec.structs.replace(stretch, generation=generation) for stretch in stretches]


async def _batches(
    read: AsyncIterator[list[Record]], topic: str, begins: Mapping[int, int]
) -> AsyncIterator[list[Stretch]]:
    """Yields what is folded in at once."""
    reached = dict(begins)
    sources = dict.fromkeys(begins, -1)
    batch: list[Stretch] = []
    size = 0
    async for records in read:
        partition = records[0].partition
        stretch, sources[partition] = read_stretch(
            topic, records, reached[partition], sources[partition]
        )
        reached[partition] = stretch.end
        batch.append(stretch)
        size += len(records)
        if size >= TRANSACTION_EVENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
