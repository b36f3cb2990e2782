"""``lockstream status``: shows on one screen what runs, how far it has come and what is wrong."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Annotated

import msgspec
import typer

from eventlog.groups import GroupState, Member, Progress, Wanted, read_groups
from eventlog.registry import Registry
from operations.parked.states import count_waiting
from operations.partners.progress import fanout_group
from operations.running.probes import PageStatus, ask
from operations.shared.console import print_json, print_table, show
from operations.shared.installation import Installation, run_on_installation
from operations.shared.options import AsJson
from runtime.errors import ConfigurationError, ReadModelUnavailable
from runtime.settings import Settings
from schemas.registry import Partner


class StageStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Describes a consumer group: the projector's, or that of one partner's fan-out. ``unowned``:
    partitions that no replica has; ``lag``: records (and markers) between its checkpoints and the
    end; ``lag_seconds``: how long the oldest record has waited."""

    name: str
    state: str
    replicas: list[Member]
    unowned: list[int]
    partitions: dict[int, Progress]
    lag: int
    lag_seconds: float


class Status(msgspec.Struct, frozen=True):
    """Holds what ``lockstream status`` found. ``parked``: how many facts wait; None if not known.
    ``ok``: all pages are ready, and every partition of every active stage has an owner."""

    ok: bool
    pages: list[PageStatus]
    stages: list[StageStatus]
    parked: int | None


def status(
    as_json: AsJson = False,
    by_partition: Annotated[
        bool, typer.Option("--partitions", help="Also show each partition of each stage.")
    ] = False,
) -> None:
    """Show what runs, how far it has come and what is wrong.

    Replicas, positions and lag come from Kafka (checkpoints are up to 5 seconds old). The state of
    each replica, and why it is not ready, comes from the health pages: those that
    LOCKSTREAM_HEALTH_PAGES names, or those of the `lockstream up` that runs here."""

    found = run_on_installation(read_status)
    if as_json:
        print_json(msgspec.to_builtins(found, str_keys=True))
    else:
        _show(found, by_partition)


async def read_status(here: Installation) -> Status:
    """Asks the health pages, Kafka and the read model.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        KafkaRefused: the installation's topics are not there, or may not be read.
        ConfigurationError: it is not known where the read model is.
    """
    await here.require_read_model_url()
    pages = await asyncio.gather(
        *(asyncio.to_thread(ask, page) for page in page_addresses(here.settings))
    )
    registry = await here.read_registry()
    stages = await _stages(here, registry.all(Partner))
    held_up = not all(page.ready for page in pages)
    missing = any(stage.unowned for stage in stages if stage.state != "paused")
    return Status(not held_up and not missing, pages, stages, await _count_parked(here, registry))


def page_addresses(settings: Settings) -> list[str]:
    return [page.strip().rstrip("/") for page in settings.health_pages.split(",") if page.strip()]


async def _stages(here: Installation, registered: Sequence[Partner]) -> list[StageStatus]:
    """Describes the projector's stage and that of every partner."""
    topics = here.settings.topics
    numbers = topics.numbers
    partners = [entry for entry in registered if entry.status != "removed"]
    async with here.kafka.offsets_client() as client:
        begin = await client.beginnings(topics.lock_facts, numbers)
    projector = Wanted(topics.group("projector"), topics.lock_facts, begin)
    groups = await read_groups(
        here.kafka, [projector, *(fanout_group(here.settings, entry) for entry in partners)]
    )
    return [
        _stage("projector", groups[0], paused=False),
        *(
            _stage(f"partner {entry.id}", group, paused=entry.status == "paused")
            for entry, group in zip(partners, groups[1:], strict=True)
        ),
    ]


def _stage(name: str, group: GroupState, *, paused: bool) -> StageStatus:
    members, progress = group.members, group.progress
    owned = {partition for member in members for partition in member.partitions}
    unowned = [partition for partition in progress if partition not in owned]
    return StageStatus(
        name=name,
        state="paused" if paused else _state(owned, unowned),
        replicas=members,
        unowned=unowned,
        partitions=progress,
        lag=sum(p.lag for p in progress.values()),
        lag_seconds=round(max(p.lag_s() for p in progress.values()), 1),
    )


def _state(owned: Collection[int], unowned: Collection[int]) -> str:
    if not unowned:
        return "running"
    return "partly without owner" if owned else "nobody has it"


async def _count_parked(here: Installation, registry: Registry) -> int | None:
    try:
        await here.read_model.require()
        return await count_waiting(here, registry)
    except (ReadModelUnavailable, ConfigurationError):
        return None


# -- on a terminal ---------------------------------------------------------------------------------


def _show(found: Status, by_partition: bool) -> None:
    if found.pages:
        print_table(("replica", "state"), [(page.page, page.state) for page in found.pages])
        show("")
    print_table(
        ("stage", "state", "replicas", "partitions", "lag", "seconds"),
        [_stage_row(stage) for stage in found.stages],
    )
    parked = "not known (no read model)" if found.parked is None else f"{found.parked:,}"
    show(f"\nparked facts that wait: {parked}")
    if by_partition:
        show("")
        print_table(
            ("stage", "partition", "replica", "position", "end", "seconds"),
            [row for stage in found.stages for row in _partition_rows(stage)],
        )
    for page in found.pages:
        for name, reason in page.obstacles.items():
            show(f"{page.page}: {name}: {reason}")


def _stage_row(stage: StageStatus) -> Sequence[object]:
    replicas = ", ".join(f"{member.name}@{member.host}" for member in stage.replicas)
    owned = len(stage.partitions) - len(stage.unowned)
    return (
        stage.name,
        stage.state,
        replicas or "none",
        f"{owned} of {len(stage.partitions)}",
        f"{stage.lag:,}",
        f"{stage.lag_seconds:.1f}",
    )


def _partition_rows(stage: StageStatus) -> list[Sequence[object]]:
    owners = {p: member.name for member in stage.replicas for p in member.partitions}
    return [
        (stage.name, number, owners.get(number, "none"), p.position, p.end, f"{p.lag_s():.1f}")
        for number, p in stage.partitions.items()
    ]
