"""Shows how far a replay is until it has ended. The fan-outs do the work; this only looks on."""

import asyncio

from eventlog.groups import group_checkpoints
from operations.shared.console import progress_bar
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError, Unavailable
from schemas.registry import Replay

LOOK_S = 1.0
STALLED_S = 60.0


async def follow_replay(here: Installation, replay: Replay) -> Replay:
    """Returns the entry of a replay that has ended.

    Raises:
        ConfigurationError: it was cancelled meanwhile.
        Unavailable: nobody goes on with it.
        KafkaUnavailable: the broker can't be reached in time.
    """
    who = f"replay {replay.number} of {replay.partner_id}"
    total = sum(replay.end_offsets) - sum(replay.start_offsets)
    loop = asyncio.get_running_loop()
    deadline, reached = loop.time() + STALLED_S, 0
    with progress_bar(who, total, "offsets") as advance:
        while True:
            now = (await here.read_registry()).replay(replay.partner_id, replay.number)
            if now is not None and now.status == "ended":
                advance(total - reached)
                return now
            if now is None or now.status == "cancelled":
                raise ConfigurationError(f"{who} was cancelled")
            if (at := await _reached(here, replay)) > reached:
                advance(at - reached)
                deadline, reached = loop.time() + STALLED_S, at
            if loop.time() > deadline:
                raise Unavailable(
                    f"{who} has not come on for {STALLED_S:.0f} s: is a fan-out running? What "
                    f"holds one up is on its /readyz. {goes_on(replay)}"
                )
            await asyncio.sleep(LOOK_S)


def goes_on(replay: Replay) -> str:
    """Says that a replay which nobody looks on at goes on all the same."""
    who = f"--id {replay.partner_id}"
    return (
        f"It stays registered, and goes on: `lockstream partner replays {who}` shows it, "
        f"`lockstream partner cancel {who} --replay {replay.number}` stops it"
    )


async def _reached(here: Installation, replay: Replay) -> int:
    """Counts the offsets that are done with, by the checkpoints."""
    topics = here.settings.topics
    group = topics.replay_group(replay.partner_id, replay.number)
    noted = await group_checkpoints(here.kafka, group, topics.lock_events)
    reached = 0
    for p, (begin, end) in enumerate(zip(replay.start_offsets, replay.end_offsets, strict=True)):
        at = noted[p].next_offset if p in noted else begin
        reached += min(max(at, begin), end) - begin
    return reached
