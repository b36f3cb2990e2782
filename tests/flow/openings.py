"""Callers that open a lock without a pause, and keep account of each answer."""

import asyncio
import uuid
from collections.abc import Mapping

import httpx

from tests.flow.client import Caller
from tests.integration.kafka_tools import eventually

CALLERS = 16


class Openings:
    """Callers that keep their connections, and some (each ``open_every``-th) that open one for each
    command. ``answered``: temp key → version; ``cut``: what became of commands that were sent and
    got no answer; ``refused``: how often nobody listened."""

    def __init__(self, env: Mapping[str, str], *, open_every: int = 4) -> None:
        self._url = f"{env['BASE_URL']}/locks/123/use-temp-key"
        self._credentials = Caller(env).credentials
        self._open_every = open_every
        self._done = asyncio.Event()
        self.refused = 0
        self.answered: dict[str, int] = {}
        self.cut: list[str] = []

    async def run(self) -> None:
        anew = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(timeout=20, trust_env=False) as keeping,
            httpx.AsyncClient(timeout=20, limits=anew, trust_env=False) as opening,
            asyncio.TaskGroup() as callers,
        ):
            for number in range(CALLERS):
                callers.create_task(
                    self._call(opening if number % self._open_every == 0 else keeping)
                )

    def finish(self) -> None:
        self._done.set()

    async def _call(self, client: httpx.AsyncClient) -> None:
        while not self._done.is_set():
            temp_key = uuid.uuid4().hex
            try:
                answer = await client.post(
                    self._url, json={"tempKeyUuid": temp_key}, headers=self._credentials
                )
            except httpx.ConnectError:
                self.refused += 1
                await asyncio.sleep(0.05)  # nobody listens: nothing was sent
                continue
            except httpx.TransportError as error:
                self.cut.append(f"{temp_key}: {error!r}")
                continue
            if answer.status_code == 200:
                self.answered[temp_key] = answer.json()["version"]
            else:
                assert answer.status_code in (202, 503), answer.text
                await asyncio.sleep(0.05)

    async def until_further(self, count: int) -> None:
        goal = len(self.answered) + count

        async def reached() -> bool:
            return len(self.answered) >= goal

        await eventually(reached, timeout_s=60)
