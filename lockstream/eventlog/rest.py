"""How long a partition lets records pile up between two transactions. Pure."""

import msgspec

MARKERS_S = 0.002
"""A transaction's markers are written after its commit is answered: to begin the next one on that
partition sooner only costs a refusal and a second try."""
LONGEST_S = 0.05


class Rest(msgspec.Struct, frozen=True):
    """``times`` as long as the last transaction took, if it was for ``few`` records or less: one
    costs nearly as much for one record as for twenty. On an idle machine that is next to nothing;
    on a busy one, where transactions take long, it makes fewer of them."""

    times: float
    few: int

    def after(self, records: int, took_s: float) -> float:
        """Seconds to wait after a transaction for so many records."""
        if records > self.few:
            return MARKERS_S
        return min(LONGEST_S, max(MARKERS_S, self.times * took_s))
