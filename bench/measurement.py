"""Defines the one shape of everything that is measured, and runs alternatives side by side."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from bench.distributions import median

Parameter = str | int | float
Numbers = Mapping[str, float]


class Measurement(msgspec.Struct, frozen=True):
    """One thing, measured once or several times. ``rounds``: what each run gave, by name; a name
    ends in its unit."""

    name: str
    parameters: dict[str, Parameter]
    rounds: list[dict[str, float]]

    def median(self, number: str) -> float:
        """Returns the median of all rounds.

        Raises:
            KeyError: no round has it.
        """
        return median(self._values(number))

    def spread(self, number: str) -> tuple[float, float]:
        """Returns the least and the greatest of all rounds.

        Raises:
            KeyError: no round has it.
        """
        values = self._values(number)
        return min(values), max(values)

    def _values(self, number: str) -> list[float]:
        values = [numbers[number] for numbers in self.rounds if number in numbers]
        if not values:
            raise KeyError(f"{self.name} has no {number}")
        return values


class Case(msgspec.Struct, frozen=True):
    """What is to be measured. ``setup`` comes before each run and is not measured."""

    name: str
    parameters: dict[str, Parameter]
    run: Callable[[], Numbers]
    setup: Callable[[], None] = lambda: None


Finished = Callable[[Case, Numbers], None]


def interleave(cases: Sequence[Case], rounds: int, finished: Finished) -> list[Measurement]:
    """Runs A B C, A B C, …: what changes on the machine meanwhile happens to all of them."""
    found: list[list[dict[str, float]]] = [[] for _ in cases]
    for _ in range(rounds):
        for case, so_far in zip(cases, found, strict=True):
            case.setup()
            numbers = dict(case.run())
            so_far.append(numbers)
            finished(case, numbers)
    return [
        Measurement(case.name, case.parameters, so_far)
        for case, so_far in zip(cases, found, strict=True)
    ]


def select(
    measurements: Sequence[Measurement], name: str, **parameters: Parameter
) -> list[Measurement]:
    """Returns the measurements of this name that have these parameters, in their order."""
    return [
        m
        for m in measurements
        if m.name == name and all(m.parameters.get(k) == v for k, v in parameters.items())
    ]
