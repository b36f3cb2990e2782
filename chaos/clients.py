"""Makes the load: callers on every lock, with a record of all requests and answers."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from random import Random

import httpx

from chaos.history import Attempt, Broken, Operation, Outcome, Promise

CALL_S = 60.0
LONGEST_ANSWER_S = 10.0
"""No answer of the service may take longer: 2 s to look up, 5 s to publish, 2 s to wait, and some
for a busy machine."""
PERSISTENCE_S = 60.0
THINK_S = (0.3, 0.6)
AGAIN_S = 0.2
KEYED = 0.5
REPEATED_AT_ONCE = 0.1
PROBE_EVERY_S = 0.2
PROBE_PAUSE_S = 0.5
PROBE_GROWTH = 1.2
"""Each probe waits a little longer for the next one, up to the pause: what is slow under load would
be made slower by more of them, and asking would measure itself."""


class Callers:
    """Runs one caller on each lock. ``urls``: those of the API replicas that are there now.
    ``credentials``: headers per lock. ``operations`` holds what has ended; ``broken`` what is wrong
    whatever the log says."""

    def __init__(
        self,
        urls: Callable[[], Sequence[str]],
        credentials: Mapping[int, Mapping[str, str]],
        rng: Random,
        patience: float,
    ) -> None:
        self._urls = urls
        self._credentials = credentials
        self._rng = rng
        self._longest_answer_s = LONGEST_ANSWER_S * patience
        self._client = httpx.AsyncClient(
            timeout=CALL_S, limits=httpx.Limits(max_connections=None), trust_env=False
        )
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.in_flight = 0
        self.operations: list[Operation] = []
        self.broken: list[Broken] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._call_on(lock)) for lock in self._credentials]

    async def stop(self) -> None:
        """Lets every command come to its end first."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self._client.aclose()

    async def _call_on(self, lock_id: int) -> None:
        while not self._stopping:
            key = str(uuid.uuid4()) if self._rng.random() < KEYED else None
            await self._operate(lock_id, key)
            await asyncio.sleep(self._rng.uniform(*THINK_S))

    async def _operate(self, lock_id: int, key: str | None) -> None:
        """Sends one command. With a key it is repeated until it is answered, without one it is
        not."""
        temp_key = uuid.uuid4().hex
        attempts: list[Attempt] = []
        deadline = time.monotonic() + PERSISTENCE_S
        while True:
            copies = 2 if key is not None and self._rng.random() < REPEATED_AT_ONCE else 1
            attempts += await asyncio.gather(
                *(self._attempt(lock_id, temp_key, key) for _ in range(copies))
            )
            settled = any(attempt.outcome in ("ok", "refused") for attempt in attempts)
            if key is None or settled or time.monotonic() > deadline:
                break
            await asyncio.sleep(AGAIN_S)
        self.operations.append(Operation(lock_id, temp_key, key, attempts))

    async def probe(self, lock_id: int) -> Attempt:
        """Sends one command without a key, now."""
        temp_key = uuid.uuid4().hex
        attempt = await self._attempt(lock_id, temp_key, None)
        self.operations.append(Operation(lock_id, temp_key, None, [attempt]))
        return attempt

    async def _attempt(self, lock_id: int, temp_key: str, key: str | None) -> Attempt:
        urls = self._urls()
        started_at = time.monotonic()
        if not urls:
            await asyncio.sleep(AGAIN_S)
            return Attempt(started_at, time.monotonic(), "unknown")
        headers = {**self._credentials[lock_id], **({"Idempotency-Key": key} if key else {})}
        sending = Sending()
        self.in_flight += 1
        try:
            answer = await self._client.post(
                f"{self._rng.choice(urls)}/locks/{lock_id}/use-temp-key",
                json={"tempKeyUuid": temp_key},
                headers=headers,
                extensions={"trace": sending.trace},
            )
        except (httpx.HTTPError, AttributeError) as error:
            # AttributeError: anyio asks a socket for its peer that was reset as it was made.
            attempt = Attempt(started_at, time.monotonic(), "unknown")
            if isinstance(error, httpx.ReadTimeout):
                self._broke("every request is answered in time", f"none in {CALL_S} s", attempt)
            return attempt
        finally:
            self.in_flight -= 1
        return self._read(answer, started_at, sending.sent_at or started_at)

    def _read(self, answer: httpx.Response, started_at: float, sent_at: float) -> Attempt:
        attempt = _attempt_of(answer, started_at)
        if attempt.ended - sent_at > self._longest_answer_s:
            took = f"{attempt.status} after {attempt.ended - sent_at:.1f} s"
            self._broke("every request is answered in time", took, attempt)
        if attempt.status in (202, 503) and "retry-after" not in answer.headers:
            self._broke("202 and 503 say when to ask again", answer.text, attempt)
        if attempt.status not in (200, 202, 503):
            self._broke(
                "a good command is not refused", f"{answer.status_code} {answer.text}", attempt
            )
        return attempt

    def _broke(self, promise: Promise, detail: str, attempt: Attempt) -> None:
        self.broken.append(Broken(promise, detail, attempt.started_at))

    async def until_answered(self, lock_id: int, deadline: float) -> float | None:
        """Asks again and again, not waiting for slow answers; returns when the first command
        that began from now on was answered with its version, or None at the deadline."""
        probes: set[asyncio.Task[Attempt]] = set()
        pause = PROBE_EVERY_S
        while time.monotonic() < deadline:
            probes.add(asyncio.create_task(self.probe(lock_id)))
            done, _ = await asyncio.wait(probes, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            pause = min(PROBE_PAUSE_S, pause * PROBE_GROWTH)
            answered = [probe.result().ended for probe in done if probe.result().outcome == "ok"]
            if answered:
                self._tasks += [_finish(probe) for probe in probes - done]
                return min(answered)
            if done:
                probes -= done
                await asyncio.sleep(PROBE_EVERY_S)
        self._tasks += [_finish(probe) for probe in probes]
        return None


def _finish(probe: "asyncio.Task[Attempt]") -> "asyncio.Task[None]":
    async def finish() -> None:
        await probe

    return asyncio.create_task(finish())


class Sending:
    """Notes when a request was sent: a busy suite may have held it for seconds before that, which
    is nothing that the service could have answered in time."""

    def __init__(self) -> None:
        self.sent_at: float | None = None

    async def trace(self, event: str, _: Mapping[str, object]) -> None:
        if event == "http11.send_request_headers.started":
            self.sent_at = time.monotonic()


def _attempt_of(answer: httpx.Response, started_at: float) -> Attempt:
    ended = time.monotonic()
    status = answer.status_code
    if status == 200:
        body = answer.json()
        return Attempt(started_at, ended, "ok", status, body["event"]["id"], body["version"])
    if status == 202:
        return Attempt(started_at, ended, "pending", status, answer.json()["eventId"])
    return Attempt(started_at, ended, _refusal(answer), status)


def _refusal(answer: httpx.Response) -> Outcome:
    if answer.status_code != 503:
        return "refused" if answer.status_code < 500 else "unknown"
    return "not-recorded" if "recorded nothing" in answer.text else "unknown"
