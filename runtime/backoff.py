"""Makes the pauses between attempts, each longer than the one before."""


class Backoff:
    """Gives pauses in seconds, each twice as long as the one before, up to the longest.
    ``second_s``: what follows the first at least, for a first attempt that is made at once."""

    def __init__(self, first_s: float, longest_s: float, second_s: float = 0.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._second_s = second_s
        self._next_s = first_s

    def next(self) -> float:
        """Returns the pause before the next attempt."""
        pause = self._next_s
        self._next_s = min(self._longest_s, max(self._second_s, 2 * pause))
        return pause

    def reset(self) -> None:
        """Begins with the first pause again, after an attempt that went well."""
        self._next_s = self._first_s
