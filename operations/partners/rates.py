"""Changes how many bytes a second each user of a partner may read."""

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from eventlog.registry import Registry
from operations.partners.credentials import hold_to_rate
from operations.partners.entries import live_partner
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError
from schemas.registry import Partner

MaxRateOption = Annotated[
    str | None,
    typer.Option(
        "--max-rate",
        help="Bytes a second that each of its users may read from a broker: 500KiB, 10MiB; "
        "'default' for what the settings say.",
    ),
]
DEFAULT = "default"
_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}
_RATE = re.compile(r"([0-9]{1,12})(K|M|G|Ki|Mi|Gi|)B?(/s)?\Z")
LEAST = 1024


def read_rate(text: str) -> int | None:
    """Reads a number of bytes a second; None for the default.

    Raises:
        ConfigurationError: it is none, or less than 1 KiB, at which nothing would ever arrive.
    """
    if text.strip() == DEFAULT:
        return None
    match = _RATE.match(text.strip())
    if match is None:
        raise ConfigurationError(f"--max-rate: {text!r} is no rate; write 500KiB, 10MiB or default")
    rate = int(match.group(1)) * _UNITS[match.group(2)]
    if not LEAST <= rate < 2**53:
        raise ConfigurationError(f"--max-rate: {text!r}: write 1KiB or more, or default")
    return rate


async def set_max_rate(here: Installation, partner_id: str, rate: int | None) -> Partner:
    """Changes the partner's entry, and then what Kafka holds its users to; returns the new entry.

    Raises:
        ConfigurationError: there is no such partner.
        KafkaRefused: we may not change quotas.
        KafkaUnavailable: the broker can't be reached in time. To run it again is safe.
    """

    def edit(registry: Registry) -> Sequence[Partner]:
        return [msgspec.structs.replace(live_partner(registry, partner_id), max_rate=rate)]

    (changed,) = await here.edit_registry(edit)
    await hold_to_rate(here, changed)
    return changed
