"""What the judge of the fault suite can find, by the tests that plant it."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from chaos.history import Broken, Promise

PLANTED: set[Promise] = set()


def finds(*promises: Promise) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """For a test that plants a fault and returns what is found: these promises are broken then,
    each once, and no other."""

    def check(found: Sequence[Broken]) -> None:
        assert sorted(broken.promise for broken in found) == sorted(promises)
        assert all(broken.detail for broken in found)

    def planting(plant: Callable[..., Any]) -> Callable[..., Any]:
        assert plant.__name__.startswith("test_"), "nobody would run it"
        PLANTED.update(promises)
        if inspect.iscoroutinefunction(plant):

            @functools.wraps(plant)
            async def later(**fixtures: object) -> None:
                check(await plant(**fixtures))

            return later

        @functools.wraps(plant)
        def test(**fixtures: object) -> None:
            check(plant(**fixtures))

        return test

    return planting
