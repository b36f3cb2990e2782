"""Confirms that what is served is still registered as it was."""

from eventlog.registry import Registry
from eventlog.stage.lane_count import check_lanes
from eventlog.tail import Tail
from fanout.served import is_served_alike
from runtime.errors import Unavailable
from schemas.registry import Partner, Replay, entry_key

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

    async def confirm(self, entry: Partner | Replay, end: int) -> None:
        """Returns if the registry up to ``end`` has this entry, and our number of lanes.

        Raises:
            Unavailable: it has another, or the registry can't be read so far.
            LanesChanged: the installation works with another number of lanes.
        """
        await self._tail.until(self._topic, 0, end, READ_S)
        if not is_served_alike(entry, self._registry.current(entry)):
            what = entry_key(entry).decode().replace("/", " ")
            raise Unavailable(f"{what} is registered differently by now")
        check_lanes(self._registry, self._lanes)
