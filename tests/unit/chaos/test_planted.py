"""All that the fault suite can find is planted somewhere."""

import importlib
import pkgutil
from typing import get_args

from chaos.history import Promise
from tests.unit import chaos
from tests.unit.chaos.planted import PLANTED


def test_every_promise_that_a_run_can_find_broken_is_planted() -> None:
    for module in pkgutil.iter_modules(chaos.__path__, f"{chaos.__name__}."):
        importlib.import_module(module.name)
    assert set(get_args(Promise)) == PLANTED
