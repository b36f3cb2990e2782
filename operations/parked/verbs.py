"""``lockstream parked …``: facts that could not become events, and their second chance."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import msgspec
import typer

from eventlog.registry import read_registry
from operations.parked.discards import discard_all, discard_places, operator_name
from operations.parked.retries import Retried, retry_all, retry_one
from operations.parked.states import (
    Notes,
    ParkedPlace,
    ParkedRecord,
    StateName,
    find_parked,
    read_parked,
    read_place,
)
from operations.shared.console import print_json, print_table, say
from operations.shared.installation import (
    Installation,
    open_installation,
    require_read_model,
    run_verb,
)
from schemas.parked_facts import Reason

parked = typer.Typer(
    no_args_is_help=True,
    help="Facts that could not become events: why, and what became of them since.",
)

EVERY_STATE = "all"
STATES = (*get_args(StateName), EVERY_STATE)
SHOWN = 1000
MAX_WHY = 500

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
PlaceArgument = Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `parked list` shows it.")]
WantedReason = Annotated[
    str | None,
    typer.Option("--reason", help=f"Only those parked for it: {', '.join(get_args(Reason))}."),
]
By = Annotated[
    str | None, typer.Option("--by", help="Who decides, for the record. Default: your login.")
]


@parked.command("list")
def list_parked(
    reason: WantedReason = None,
    state: Annotated[
        str, typer.Option("--state", help=f"Only those in this state: {', '.join(STATES)}.")
    ] = "waiting",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show so many at most.")] = SHOWN,
    as_json: Json = False,
) -> None:
    """List parked facts that wait, or those of another `--state`, as far as retention (30 days)
    has left them.

    A fact is *recorded* once an event of the stream has its id, *discarded* once `parked discard`
    said so, *parked-again* where a later place holds the same fact; otherwise it is *waiting*."""
    _check_one_of("--state", state, STATES)
    _check_reason(reason)

    async def verb() -> tuple[list[ParkedRecord], dict[str, int]]:
        async with open_installation() as here:
            notes, shown, others = await _notes(here), list[ParkedRecord](), dict[str, int]()
            async for chunk in read_parked(here, notes):
                for found in chunk:
                    if reason not in (None, found.headers.reason):
                        continue
                    if state not in (EVERY_STATE, found.state.name):
                        others[found.state.name] = others.get(found.state.name, 0) + 1
                    elif len(shown) < limit:
                        shown.append(found)
                    else:
                        others["more"] = others.get("more", 0) + 1
            return shown, others

    shown, others = run_verb(verb)
    if as_json:
        print_json([_row(found) for found in shown])
    else:
        print_table(
            ("place", "parked", "reason", "lock", "detail", "state"),
            [
                (
                    str(found.place),
                    found.headers.parked_at,
                    found.headers.reason,
                    "" if found.headers.lock_id is None else found.headers.lock_id,
                    found.headers.detail,
                    str(found.state),
                )
                for found in shown
            ],
        )
    _say_what_is_not_shown(others)


def _say_what_is_not_shown(others: dict[str, int]) -> None:
    more = others.pop("more", 0)
    if more:
        say(f"{more} more; --limit shows them, --reason fewer")
    if others:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
        say(f"not shown: {counts} (--state)")


def _row(found: ParkedRecord) -> dict[str, object]:
    headers, state = found.headers, found.state
    row: dict[str, object] = {
        "place": str(found.place),
        "parkedAt": headers.parked_at,
        "reason": headers.reason,
        "lockId": headers.lock_id,
        "orgId": headers.org_id,
        "eventId": headers.event_id,
        "detail": headers.detail,
        "sourceOffset": headers.source_offset,
        "state": state.name,
    }
    if state.version is not None:
        row["version"] = state.version
    if state.again is not None:
        row["parkedAgainAs"] = str(ParkedPlace(*state.again.place))
    if state.discard is not None:
        row["discarded"] = {
            "at": state.discard.created_at,
            "by": state.discard.by,
            "why": state.discard.why,
        }
    return row


async def _notes(here: Installation) -> Notes:
    await require_read_model(here)
    registry = await read_registry(here.kafka, here.settings.topics.registry)
    return Notes(registry)


@parked.command("show")
def show_parked(place: PlaceArgument, as_json: Json = False) -> None:
    """Show a parked fact: why it is there and what became of it on stderr, its value, byte for
    byte, on stdout. With --json all of it on stdout, the value in Base64."""

    async def verb() -> ParkedRecord:
        async with open_installation() as here:
            where = read_place(place, here.settings.partitions)
            return await find_parked(here, await _notes(here), where)

    found = run_verb(verb)
    value = found.record.value or b""
    if as_json:
        print_json({**_row(found), "valueBase64": base64.b64encode(value).decode()})
        return
    for name, text in {**_row(found), "state": str(found.state)}.items():
        say(f"{name:13} {text}")
    typer.get_binary_stream("stdout").write(value + b"\n")


@parked.command("retry")
def retry_parked(
    place: Annotated[
        str | None, typer.Argument(help="PARTITION:OFFSET, as `parked list` shows it.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every fact that waits; --reason narrows it.")
    ] = False,
    reason: WantedReason = None,
    repaired: Annotated[
        Path | None,
        typer.Option("--value", help="A file with the repaired fact, to be used instead."),
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Put a parked fact back through `lock-facts`, and wait for what becomes of it. However often
    it is retried, it becomes one event.

    Exit code 1 if it, or one of all, was parked again; with --all also where one can't be read."""
    _check_reason(reason)
    if everything == (place is not None):
        raise _usage("name one PARTITION:OFFSET, or --all")
    if place is None:
        if repaired is not None:
            raise _usage("--value repairs one fact: name its PARTITION:OFFSET")
        _retry_all(reason, as_json)
        return
    if reason is not None:
        raise _usage("--reason goes with --all")
    _retry_one(place, repaired, by or operator_name(), as_json)


def _retry_one(place: str, repaired: Path | None, by: str, as_json: bool) -> None:
    value = _read_file(repaired) if repaired is not None else None

    async def verb() -> int:
        async with open_installation() as here:
            where = read_place(place, here.settings.partitions)
            found = await find_parked(here, await _notes(here), where)
            return await retry_one(here, found, value, by)

    version = run_verb(verb)
    if as_json:
        print_json({"place": place, "status": "recorded", "version": version})
    else:
        say(f"{place} is recorded as version {version} of its lock")


def _retry_all(reason: str | None, as_json: bool) -> None:
    async def verb() -> Retried:
        async with open_installation() as here:
            return await retry_all(here, await _notes(here), reason)

    outcome = run_verb(verb)
    if as_json:
        print_json(msgspec.to_builtins(outcome))
    else:
        say(
            f"{outcome.recorded} recorded, {outcome.parked_again} parked again, "
            f"{outcome.unreadable} can't be read"
        )
        for failure in outcome.failures:
            say(f"{failure.place}: {failure.reason}: {failure.detail}")
        untold = outcome.parked_again + outcome.unreadable - len(outcome.failures)
        if untold:
            say(f"… and {untold} more; `lockstream parked list`")
    if outcome.parked_again or outcome.unreadable:
        raise typer.Exit(1)


@parked.command("discard")
def discard_parked(
    places: Annotated[
        list[str] | None, typer.Argument(help="PARTITION:OFFSET, as `parked list` shows it.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every fact that waits and was parked for --reason.")
    ] = False,
    reason: WantedReason = None,
    why: Annotated[
        str, typer.Option("--why", help="Why it is not to become an event; kept on record.")
    ] = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Say for good that parked facts are not to become events: all those named, or none.

    Who said so, when and why stands in the registry for ever. The facts themselves stay where
    they are until retention deletes them; they no longer wait, and can't be retried."""
    _check_reason(reason)
    if everything == bool(places):
        raise _usage("name PARTITION:OFFSET, one or several, or --all")
    if everything != (reason is not None):
        raise _usage("--all and --reason go together: which facts are to be discarded?")
    if not 0 < len(why.strip()) <= MAX_WHY:
        raise _usage(f"--why is needed, with 1 to {MAX_WHY} characters: it is kept on record")
    named, who = places or [], (by or operator_name())[:255]

    async def verb() -> Sequence[ParkedPlace]:
        async with open_installation() as here:
            notes = await _notes(here)
            if reason is not None:
                return await discard_all(here, notes, reason, why.strip(), who)
            where = [read_place(place, here.settings.partitions) for place in named]
            return await discard_places(here, notes, where, why.strip(), who)

    discarded = run_verb(verb)
    if as_json:
        shown = [str(place) for place in discarded[:SHOWN]]
        print_json({"discarded": len(discarded), "places": shown, "by": who, "why": why.strip()})
    else:
        say(f"{len(discarded)} discarded by {who}")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _usage(f"--value {path}: {error.strerror}") from error


def _check_reason(reason: str | None) -> None:
    if reason is not None:
        _check_one_of("--reason", reason, get_args(Reason))


def _check_one_of(option: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise _usage(f"{option} {given!r} is none of {', '.join(known)}")


def _usage(text: str) -> typer.Exit:
    say(f"lockstream: {text}")
    return typer.Exit(2)
