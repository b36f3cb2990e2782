"""Says why a role is not ready, if it isn't; in the log only when that changes."""

import logging

log = logging.getLogger(__name__)


class Readiness:
    """A set of named obstacles; ready when there is none."""

    def __init__(self) -> None:
        self._obstacles: dict[str, str] = {}

    def block(self, name: str, reason: str) -> None:
        """Notes that ``name`` can't work because of ``reason`` (a sentence)."""
        if self._obstacles.get(name) != reason:
            log.warning("%s: %s", name, reason)
        self._obstacles[name] = reason

    def clear(self, name: str) -> None:
        if self._obstacles.pop(name, None) is not None:
            log.info("%s: working", name)

    @property
    def obstacles(self) -> dict[str, str]:
        return dict(self._obstacles)

    @property
    def ready(self) -> bool:
        return not self._obstacles
