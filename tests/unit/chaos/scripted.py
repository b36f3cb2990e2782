"""An installation that never starts: its recoveries and what its verbs print are given."""

from pathlib import Path
from random import Random
from typing import TypeVar

from chaos.brokers import Brokers
from chaos.clients import Callers
from chaos.databases import ReadModelUnderTest
from chaos.ports import PortRange
from chaos.scene import Injection, Scene
from chaos.system import Recovery, System

T = TypeVar("T")
FAST, NEVER = Recovery(0.2, 0.5), Recovery(None, None)


class Database(ReadModelUnderTest):
    url = "sqlite:///nowhere.db"


class Scripted(System):
    """``recoveries``, ``results``: one for each question; the last one is for all after it."""

    def __init__(self, folder: Path) -> None:
        ports = PortRange()
        brokers = Brokers(folder, ports, 1)
        super().__init__(folder, brokers, Database(), ports, Random(0), 1.0)
        self.callers = Callers(list, {}, Random(0), 1.0)
        self.recoveries: list[Recovery] = [FAST]
        self.results: list[tuple[int, str]] = [(0, "")]
        self.ran: list[tuple[str, ...]] = []

    async def recovery(self, since: float, within_s: float) -> Recovery:
        return _next(self.recoveries)

    async def lockstream(self, *arguments: str, timeout_s: float) -> tuple[int, str]:
        self.ran.append(arguments)
        return _next(self.results)

    def scene(self, *, alone: bool = True) -> tuple[Scene, Injection]:
        injection = Injection("a fault", alone, 100.0, 3, FAST)
        return Scene(self, Random(0), injection, 1.0), injection


def _next(given: list[T]) -> T:
    return given.pop(0) if len(given) > 1 else given[0]
