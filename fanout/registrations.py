"""Confirms that a partner is still registered as it is served."""

from eventlog.registry import Registry
from eventlog.stage.lane_count import check_lanes
from eventlog.tail import Tail
from runtime.errors import Unavailable
from schemas.registry import Partner

READ_S = 10.0
"""As long as an editor that died amid its transaction may hide what follows it."""


class Registrations:
    """Looks into the registry as its tail has it. A replica that slept, or whose connection hangs,
    may be behind, and a partner's id may be another organisation's by now."""

    def __init__(self, registry: Registry, tail: Tail, topic: str, lanes: int) -> None:
        self._registry = registry
        self._tail = tail
        self._topic = topic
        self._lanes = lanes

    async def confirm(self, partner: Partner, end: int) -> None:
        """Returns if the registry up to ``end`` has this entry, and our number of lanes.

        Raises:
            Unavailable: it has another, or the registry can't be read so far.
            LanesChanged: the installation works with another number of lanes.
        """
        await self._tail.until(self._topic, 0, end, READ_S)
        if self._registry.partner(partner.id) != partner:
            raise Unavailable(f"partner {partner.id} is registered differently by now")
        check_lanes(self._registry, self._lanes)
