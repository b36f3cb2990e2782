"""``lockstream partner lag``: shows what each partner was not sent, and what it has not read."""

from fanout.reading import PartnerReading, PartnersReader, open_clients
from operations.partners.unread_shown import COLUMNS, remarks, shown_reading, unread_rows
from operations.shared.console import print_json, print_table, progress_bar, say
from operations.shared.installation import Installation, run_on_installation
from operations.shared.options import AsJson
from schemas.registry import Partner

MOST_GROUPS = 1000
WORTH_A_BAR = 200_000
"""Offsets of the stream that take longer to read than a person likes to wait without a word."""


def show_lag(as_json: AsJson = False) -> None:
    """Show for each partner what it was not sent yet of its own events, and what it has not read.

    Undelivered are events of its own, and not the others'. Unread are records that a consumer group
    of its own has not committed: the group with its id as its name, and those that begin with it
    and '.'. A partner without a group counts as one that has read nothing. Retained until is when
    retention may take the oldest unread record."""
    readings = run_on_installation(read_lag)
    if as_json:
        print_json([_shown(reading) for reading in readings])
        return
    print_table(
        ("partner", "status", "undelivered", *COLUMNS),
        [
            (*(_begin(reading) if number == 0 else ("", "", "")), *row)
            for reading in readings
            for number, row in enumerate(unread_rows(reading))
        ],
    )
    for reading in readings:
        for line in remarks(reading):
            say(line)


async def read_lag(here: Installation) -> list[PartnerReading]:
    """Reads how every partner stands that is not removed.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        KafkaRefused: we may not see a group or a topic.
    """
    registry = await here.read_registry()
    partners = [entry for entry in registry.all(Partner) if entry.status != "removed"]
    reader = PartnersReader(here.settings.topics, MOST_GROUPS)
    reader.entitled.begin(partners)
    async with open_clients(here.kafka) as clients:
        ends = await reader.stream_ends(clients)
        await reader.know_counts(clients, partners)
        for stretch in reader.entitled.stretches(ends):
            size = sum(end - stretch[0][number] for number, end in stretch[1].items())
            if size < WORTH_A_BAR:
                await reader.entitled.count(clients.stream, stretch)
                continue
            with progress_bar("counting undelivered events", size, "offsets") as advance:
                await reader.entitled.count(clients.stream, stretch, advance)
        return await reader.read(clients, partners, ends)


def _shown(reading: PartnerReading) -> dict[str, object]:
    return {
        "id": reading.partner.id,
        "status": reading.partner.status,
        "lag": reading.undelivered,
        **shown_reading(reading),
    }


def _begin(reading: PartnerReading) -> tuple[object, ...]:
    return reading.partner.id, reading.partner.status, f"{reading.undelivered or 0:,}"
