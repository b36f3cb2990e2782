"""``lockstream verify``: reports the promises that are broken."""

from typing import TYPE_CHECKING

import msgspec
import typer

from operations.audit.violations import Violation
from operations.shared.console import print_json, progress_bar, say, show
from operations.shared.installation import Installation, run_on_installation
from operations.shared.options import AsJson
from schemas.records import Place

if TYPE_CHECKING:
    from operations.audit.auditor import Counted

SHOWN = 1000


class Report(msgspec.Struct, frozen=True):
    """``found`` counts all violations; ``shown`` holds the first thousand."""

    counted: "Counted"
    found: int
    shown: list[Violation]


def verify(
    as_json: AsJson = False,
) -> None:
    """Audit the log, the partners' topics and the read model. The exit code is 1 if a promise is
    broken.

    It reads only committed records, of a running or a stopped system, and changes nothing."""
    report = run_on_installation(_verify)
    if as_json:
        print_json(
            {
                "ok": report.found == 0,
                "events": report.counted.events,
                "duplicatesDropped": report.counted.duplicates,
                "partnerLag": report.counted.lag,
                "violations": report.found,
                "shown": [msgspec.structs.asdict(v) for v in report.shown],
            }
        )
    else:
        for v in report.shown:
            show(f"{v.kind}: {Place(v.topic, v.partition, v.offset)}: {v.detail}")
        lag = ", ".join(f"{name} {count}" for name, count in report.counted.lag.items() if count)
        say(
            f"{report.counted.events:,} events, {report.counted.duplicates:,} duplicates dropped, "
            f"{report.found:,} violations" + (f"; still to be delivered: {lag}" if lag else "")
        )
    if report.found:
        raise typer.Exit(1)


async def _verify(here: Installation) -> Report:
    # It imports pyarrow, which would make every verb start a fifth of a second later.
    from operations.audit.auditor import Auditor

    await here.require_read_model()
    auditor = Auditor(here.kafka, here.settings, here.read_model)
    plan = await auditor.plan()
    shown: list[Violation] = []
    found = 0
    with progress_bar("verifying", plan.size, "offsets") as advance:
        async for violation in auditor.run(plan, advance):
            found += 1
            if found <= SHOWN:
                shown.append(violation)
    return Report(auditor.counted, found, shown)
