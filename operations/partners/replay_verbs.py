"""``lockstream partner replay|replays|cancel``: sends a partner events once more."""

import asyncio
from typing import Annotated

import typer

from operations.partners.event_types import TYPES_HELP, read_types
from operations.partners.replay_progress import follow_replay, goes_on
from operations.partners.replays import (
    ReplayState,
    cancel_replay,
    read_replays,
    register_replay,
)
from operations.partners.stretches import STRETCH_HELP
from operations.shared.console import print_json, print_table, say
from operations.shared.installation import Installation, run_on_installation
from operations.shared.options import AsJson
from operations.shared.start_points import NOW

OnePartner = Annotated[str, typer.Option("--id", help="The partner's id.")]


def replay(
    partner_id: OnePartner,
    begin: Annotated[str, typer.Option("--from", help=f"The first event: {STRETCH_HELP}")],
    end: Annotated[
        str, typer.Option("--to", help=f"The first event that is left out: {STRETCH_HELP}")
    ] = NOW,
    types: Annotated[
        str | None,
        typer.Option(help=f"{TYPES_HELP} Without it: what the partner was entitled to."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it has ended, or only register it.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Send a partner events once more, into a topic of their own.

    The fan-out writes the same records, with a sequence of their own, and behind the last one an
    end marker in each partition, exactly once. The partner's own topic goes on undisturbed, and
    nothing is repeated there. The replay's topic is kept for 7 days.

    Interrupted, or with --no-wait, the replay goes on by itself."""
    named = read_types_or_none(types)

    async def replayed(here: Installation) -> ReplayState:
        entry = await register_replay(here, partner_id, begin, end, named)
        topic = here.settings.topics.partner_replay(entry.partner_id, entry.number)
        say(f"replay {entry.number} of {partner_id} goes to {topic}")
        if not wait:
            return ReplayState(entry, topic, None)
        try:
            entry = await follow_replay(here, entry)
        except asyncio.CancelledError:
            say(goes_on(entry))
            raise
        return ReplayState(entry, topic, sum(entry.counts))

    state = run_on_installation(replayed)
    if as_json:
        print_json(_shown(state))
    elif state.sent is None:
        say(goes_on(state.entry))
    else:
        say(f"{state.sent:,} events are in {state.topic}, for 7 days")


def read_types_or_none(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else read_types(text)


def replays(partner_id: OnePartner, as_json: AsJson = False) -> None:
    """List a partner's replays: what they cover, and how many events they have sent."""
    found = run_on_installation(lambda here: read_replays(here, partner_id))
    if as_json:
        print_json([_shown(state) for state in found])
    else:
        print_table(
            ("replay", "state", "events", "types", "asked for", "ended", "topic"),
            [
                (
                    state.entry.number,
                    state.entry.status,
                    "–" if state.sent is None else f"{state.sent:,}",
                    ",".join(state.entry.types),
                    state.entry.created_at,
                    state.entry.ended_at or "",
                    state.topic,
                )
                for state in found
            ],
        )


def cancel(
    partner_id: OnePartner,
    number: Annotated[int, typer.Option("--replay", min=1, help="The replay's number.")],
    with_topic: Annotated[
        bool, typer.Option("--delete-topic", help="Also delete its topic and all events in it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Stop a replay, and wait until no fan-out serves it.

    What it has sent stays for 7 days, unless --delete-topic is given. Partitions that were not at
    their end have no end marker."""

    async def cancelled(here: Installation) -> ReplayState:
        entry = await cancel_replay(here, partner_id, number, with_topic=with_topic)
        return ReplayState(entry, here.settings.topics.partner_replay(partner_id, number), None)

    state = run_on_installation(cancelled)
    if as_json:
        print_json({**_shown(state), "topicDeleted": with_topic})
        return
    say(f"replay {number} of {partner_id} is {state.entry.status}")
    if with_topic:
        say(f"its topic {state.topic} is deleted")
    else:
        say(
            f"its topic {state.topic} is kept for 7 days; partitions that were not at their end "
            "have no end marker"
        )


def _shown(state: ReplayState) -> dict[str, object]:
    entry = state.entry
    return {
        "partnerId": entry.partner_id,
        "replay": entry.number,
        "topic": state.topic,
        "status": entry.status,
        "events": state.sent,
        "counts": list(entry.counts),
        "types": list(entry.types),
        "startOffsets": list(entry.start_offsets),
        "endOffsets": list(entry.end_offsets),
        "createdAt": entry.created_at,
        "endedAt": entry.ended_at,
    }
