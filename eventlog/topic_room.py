"""Room for the largest record: topics that were made with a lower limit get ours."""

import logging
from collections.abc import Mapping

from eventlog.clients.admin import Admin
from schemas.topic_configs import LARGEST

log = logging.getLogger(__name__)


async def make_room(admin: Admin, wanted: Mapping[str, int]) -> None:
    """Raises the limit on one batch of records of these topics where it is lower than ``wanted``,
    and touches no other setting. That it may not is logged: who then writes a larger record stops.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    if not wanted:
        return
    limits = await admin.topic_setting(wanted, LARGEST)
    low = {name: wanted[name] for name, limit in limits.items() if int(limit) < wanted[name]}
    if not low:
        return
    outcomes = await admin.alter_topic_setting(LARGEST, {name: str(n) for name, n in low.items()})
    for name, error in outcomes.items():
        if error is not None:
            log.warning(
                "%s: %s may not be raised to %s (%r); set it yourself",
                *(name, LARGEST, low[name], error),
            )
        else:
            log.info("%s: %s is now %s", name, LARGEST, low[name])
