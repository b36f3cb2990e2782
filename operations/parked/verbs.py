"""``lockstream parked …``: shows, retries and discards facts that could not become events."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import msgspec
import typer

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
from operations.shared.installation import Installation, run_on_installation
from operations.shared.options import AsJson
from schemas.parked_facts import Reason

parked = typer.Typer(
    no_args_is_help=True,
    help="Show, retry and discard facts that could not become events.",
)

EVERY_STATE = "all"
STATES = (*get_args(StateName), EVERY_STATE)
SHOWN = 1000
MAX_WHY = 500

PlaceArgument = Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `parked list` shows it.")]
WantedReason = Annotated[
    str | None,
    typer.Option(
        "--reason", help=f"Only those parked for this reason: {', '.join(get_args(Reason))}."
    ),
]
By = Annotated[
    str | None, typer.Option("--by", help="Who decides, for the record. Default: your login name.")
]


@parked.command("list")
def list_parked(
    reason: WantedReason = None,
    state: Annotated[
        str, typer.Option("--state", help=f"Only those in this state: {', '.join(STATES)}.")
    ] = "waiting",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show so many at most.")] = SHOWN,
    as_json: AsJson = False,
) -> None:
    """List the parked facts that wait, or those in another `--state`.

    A fact is *recorded* once the stream has an event with its id, *discarded* once `parked discard`
    has discarded it, *parked-again* if the same fact was parked later; otherwise it is *waiting*.
    Parked facts are kept for 30 days."""
    _check_one_of("--state", state, STATES)
    _check_reason(reason)

    async def listed(here: Installation) -> tuple[list[ParkedRecord], dict[str, int]]:
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

    shown, others = run_on_installation(listed)
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
    await here.require_read_model()
    return Notes(await here.read_registry())


@parked.command("show")
def show_parked(place: PlaceArgument, as_json: AsJson = False) -> None:
    """Show a parked fact: its reason and state on stderr, its value, byte for byte, on stdout.

    With --json everything goes to stdout, the value in Base64."""
    found = run_on_installation(lambda here: _find(here, place))
    value = found.record.value or b""
    if as_json:
        print_json({**_row(found), "valueBase64": base64.b64encode(value).decode()})
        return
    for name, text in {**_row(found), "state": str(found.state)}.items():
        say(f"{name:13} {text}")
    typer.get_binary_stream("stdout").write(value + b"\n")


async def _find(here: Installation, place: str) -> ParkedRecord:
    at = read_place(place, here.settings.partitions)
    return await find_parked(here, await _notes(here), at)


@parked.command("retry")
def retry_parked(
    place: Annotated[
        str | None, typer.Argument(help="PARTITION:OFFSET, as `parked list` shows it.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every fact that waits; --reason selects some of them.")
    ] = False,
    reason: WantedReason = None,
    repaired: Annotated[
        Path | None,
        typer.Option("--value", help="A file with the repaired fact, to be published instead."),
    ] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Put a parked fact back into `lock-facts`, and wait for what becomes of it.

    However often a fact is retried, it becomes one event. The exit code is 1 if a fact was parked
    again; with --all also if one can't be read."""
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

    async def retried(here: Installation) -> int:
        return await retry_one(here, await _find(here, place), value, by)

    version = run_on_installation(retried)
    if as_json:
        print_json({"place": place, "status": "recorded", "version": version})
    else:
        say(f"{place} is recorded as version {version} of its lock")


def _retry_all(reason: str | None, as_json: bool) -> None:
    async def retried(here: Installation) -> Retried:
        return await retry_all(here, await _notes(here), reason)

    outcome = run_on_installation(retried)
    if as_json:
        print_json(msgspec.to_builtins(outcome))
    else:
        say(
            f"{outcome.recorded} recorded, {outcome.parked_again} parked again, "
            f"{outcome.unreadable} can't be read"
        )
        for failure in outcome.failures:
            say(f"{failure.place}: {failure.reason}: {failure.detail}")
        more = outcome.parked_again + outcome.unreadable - len(outcome.failures)
        if more:
            say(f"… and {more} more; `lockstream parked list`")
    if outcome.parked_again or outcome.unreadable:
        raise typer.Exit(1)


@parked.command("discard")
def discard_parked(
    places: Annotated[
        list[str] | None, typer.Argument(help="PARTITION:OFFSET, as `parked list` shows it.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every waiting fact that was parked for --reason.")
    ] = False,
    reason: WantedReason = None,
    why: Annotated[
        str, typer.Option("--why", help="Why they are not to become events; kept for ever.")
    ] = "",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Decide for good that parked facts do not become events: all those named, or none.

    The registry keeps for ever who decided it, when and why. The facts themselves stay where they
    are until retention deletes them; they no longer wait, and can't be retried."""
    _check_reason(reason)
    if everything == bool(places):
        raise _usage("name PARTITION:OFFSET, one or several, or --all")
    if everything != (reason is not None):
        raise _usage("--all and --reason go together: which facts are to be discarded?")
    if not 0 < len(why.strip()) <= MAX_WHY:
        raise _usage(f"--why is needed, with 1 to {MAX_WHY} characters: it is kept on record")
    named, who = places or [], (by or operator_name())[:255]

    async def discarded(here: Installation) -> Sequence[ParkedPlace]:
        notes = await _notes(here)
        if reason is not None:
            return await discard_all(here, notes, reason, why.strip(), who)
        at = [read_place(place, here.settings.partitions) for place in named]
        return await discard_places(here, notes, at, why.strip(), who)

    gone = run_on_installation(discarded)
    if as_json:
        shown = [str(place) for place in gone[:SHOWN]]
        print_json({"discarded": len(gone), "places": shown, "by": who, "why": why.strip()})
    else:
        say(f"{len(gone)} discarded by {who}")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _usage(f"--value {path}: {error.strerror}") from error


def _check_reason(reason: str | None) -> None:
    if reason is not None:
        _check_one_of("--reason", reason, get_args(Reason))


def _check_one_of(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise _usage(f"{option} {value!r} is none of {', '.join(choices)}")


def _usage(text: str) -> typer.Exit:
    say(f"lockstream: {text}")
    return typer.Exit(2)
