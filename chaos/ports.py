"""Keeps ports ours while what listens on them is killed and started again."""

import os
from collections.abc import Iterator

from runtime.ports import is_free

FIRST, LAST = 20_000, 32_000
"""Below those that the kernel gives to outgoing connections."""


class PortRange:
    def __init__(self) -> None:
        self._candidates = _candidates(os.getpid())

    def take(self) -> int:
        return next(port for port in self._candidates if is_free(port))


def _candidates(seed: int) -> Iterator[int]:
    """Yields ports from another start in every process: two runs at a time keep apart."""
    width = LAST - FIRST
    begin = seed * 101 % width
    for step in range(width):
        yield FIRST + (begin + step) % width
