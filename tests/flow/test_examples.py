"""The examples, each run as a reader of examples/README.md would: by its one line."""

import asyncio
import contextlib
import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from operations.running.env_files import env_lines

RUN = Path(__file__).parents[2] / "examples" / "run"
COMMAND_CLIENTS = ("curl", "python", "javascript", "go", "ruby")
PARTNERS = ("partner-python", "partner-javascript", "partner-go", "partner-java")
LANGUAGE_IS_MISSING = 77
PATIENCE_S = 480  # the first run of an example installs what it needs

pytestmark = pytest.mark.timeout(600)

Result = subprocess.CompletedProcess[str]


class RunningSystem(Protocol):
    env: dict[str, str]
    env_file: Path

    def lockstream(self, *arguments: str) -> str: ...


def run(name: str, *arguments: str, env_file: Path, timeout_s: float = 30) -> Result:
    result = subprocess.run(
        [RUN, name, *arguments],
        env={**os.environ, "DEMO_ENV": str(env_file), "TIMEOUT": str(timeout_s)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    skip_if_missing(result.returncode, result.stderr)
    return result


def skip_if_missing(exit_code: int | None, errors: str) -> None:
    if exit_code == LANGUAGE_IS_MISSING:
        pytest.skip(errors.strip())


def printed(result: Result) -> list[Any]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def env_with(running_system: RunningSystem, tmp_path: Path) -> Callable[..., Path]:
    """Writes the running system's demo.env with some values changed."""

    def write(**changed: str) -> Path:
        file = tmp_path / "demo.env"
        values = {**running_system.env, **changed}
        file.write_text(env_lines(values))
        return file

    return write


BIG_LOCK_ID = 2**53 + 1
"""The first that a double does not hold: JavaScript makes another lock's id of it."""


@pytest.fixture(scope="module")
def with_big_lock(running_system: RunningSystem) -> None:
    running_system.lockstream("lock", "add", "--id", str(BIG_LOCK_ID), "--org", "demo")


@pytest.fixture
def big_lock(with_big_lock: None, env_with: Callable[..., Path]) -> Path:
    """The file of an environment whose lock has an id above 2^53."""
    return env_with(LOCK_ID=str(BIG_LOCK_ID))


# -- the command clients ---------------------------------------------------------------------------


@pytest.mark.parametrize("client", COMMAND_CLIENTS)
def test_a_use_is_recorded_on_any_lock(client: str, big_lock: Path) -> None:
    temp_key = f'{client} "quoted" \\ {uuid.uuid4()}'
    result = run(client, temp_key, "user-1", env_file=big_lock)
    assert result.returncode == 0, result.stderr
    (answer,) = printed(result)
    assert answer["version"] > 1
    assert answer["event"]["type"] == "TempKeyUsed"
    assert answer["event"]["data"]["tempKeyUuid"] == temp_key
    assert answer["event"]["data"]["userId"] == "user-1"
    assert answer["event"]["data"]["lockId"] == BIG_LOCK_ID


@pytest.mark.parametrize("client", COMMAND_CLIENTS)
def test_a_refusal_is_shown_with_its_details(client: str, running_system: RunningSystem) -> None:
    result = run(client, "x" * 129, env_file=running_system.env_file)
    assert (result.returncode, result.stdout) == (1, "")
    assert "400" in result.stderr
    assert "Bad Request" in result.stderr
    assert "tempKeyUuid" in result.stderr


class ScriptedService(ThreadingHTTPServer):
    """Answers one request after the other as its script says; ``None`` hangs up."""

    EVENT_ID = "0b0a5f2e-54f0-5a9b-8d8f-0f5d43a8f6aa"
    PENDING: Mapping[str, object] = {"success": True, "eventId": EVENT_ID, "status": "pending"}
    RECORDED: Mapping[str, object] = {
        "version": 7,
        "event": {"id": EVENT_ID, "type": "TempKeyUsed"},
    }

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ScriptedAnswer)
        self.script: list[tuple[int, Mapping[str, object], Mapping[str, str]] | None] = []
        self.seen: list[tuple[str, str, str | None, bytes]] = []
        self.times: list[float] = []


class _ScriptedAnswer(BaseHTTPRequestHandler):
    server: ScriptedService

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, self.headers["Idempotency-Key"], body))
        self.server.times.append(time.monotonic())
        answer = self.server.script.pop(0)
        if answer is None:
            return
        status, content, headers = answer
        payload = json.dumps(content, separators=(",", ":")).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = _answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    with ScriptedService() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("client", COMMAND_CLIENTS)
def test_one_opening_is_repeated_with_one_key_until_it_is_recorded(
    client: str, service: ScriptedService, env_with: Callable[..., Path]
) -> None:
    env_file = env_with(BASE_URL=f"http://127.0.0.1:{service.server_port}", LOCK_ID="123")
    location = f"/events/{service.EVENT_ID}"
    wait = {"Retry-After": "1"}
    service.script = [
        None,
        (503, {"error": "Service Unavailable", "message": "later"}, {"Retry-After": "3"}),
        (429, {"error": "Too Many Requests", "message": "slower"}, wait),
        (202, service.PENDING, {**wait, "Location": location}),
        (503, {"error": "Service Unavailable", "message": "later"}, wait),
        (200, service.PENDING, {}),
        (200, {**service.RECORDED, "status": "recorded"}, {}),
    ]
    result = run(client, "key-1", "user-1", env_file=env_file)
    assert result.returncode == 0, result.stderr
    assert service.script == []
    (answer,) = printed(result)
    assert answer["version"] == 7
    assert answer["event"]["id"] == service.EVENT_ID
    (posted,) = set(service.seen[:4])  # four times the same, the key included
    method, path, key, body = posted
    assert (method, path) == ("POST", "/locks/123/use-temp-key")
    assert key
    assert json.loads(body) == {"tempKeyUuid": "key-1", "userId": "user-1"}
    assert [seen[:2] for seen in service.seen[4:]] == [("GET", location)] * 3
    for answer_number, asked_to_wait_s in {1: 3, 2: 1, 3: 1, 4: 1}.items():
        waited_s = service.times[answer_number + 1] - service.times[answer_number]
        assert waited_s > asked_to_wait_s - 0.1

    service.script = [(200, service.RECORDED, {})]
    assert run(client, "key-1", "user-1", env_file=env_file).returncode == 0
    assert service.seen[-1][2] != key  # another opening, another key


@pytest.mark.parametrize("client", COMMAND_CLIENTS)
def test_a_parked_fact_is_a_failure(
    client: str, service: ScriptedService, env_with: Callable[..., Path]
) -> None:
    env_file = env_with(BASE_URL=f"http://127.0.0.1:{service.server_port}")
    location = {"Location": f"/events/{service.EVENT_ID}", "Retry-After": "0"}
    service.script = [
        (202, service.PENDING, location),
        (200, {"eventId": service.EVENT_ID, "status": "parked", "reason": "unknown lock"}, {}),
    ]
    result = run(client, env_file=env_file)
    assert (result.returncode, result.stdout) == (1, "")
    assert "unknown lock" in result.stderr


@pytest.mark.parametrize("client", COMMAND_CLIENTS)
def test_a_caller_that_gives_up_tells_the_key(
    client: str, service: ScriptedService, env_with: Callable[..., Path]
) -> None:
    env_file = env_with(BASE_URL=f"http://127.0.0.1:{service.server_port}")
    service.script = [
        (
            503,
            {"error": "Service Unavailable", "message": "later", "code": 503},
            {"Retry-After": "9"},
        )
    ]
    result = run(client, env_file=env_file, timeout_s=3)
    assert (result.returncode, result.stdout) == (1, "")
    assert str(service.seen[0][2]) in result.stderr


# -- the partner consumers -------------------------------------------------------------------------


@pytest.mark.parametrize("partner", PARTNERS)
def test_a_partner_reads_its_events_as_they_come(
    partner: str, running_system: RunningSystem, big_lock: Path
) -> None:
    with subprocess.Popen(
        [RUN, partner],
        env={**os.environ, "DEMO_ENV": str(running_system.env_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            first = process.stdout.readline()  # the demo's lock was created before
            if not first:
                errors = process.stderr.read()
                skip_if_missing(process.wait(), errors)
                pytest.fail(errors)
            recorded = run("python", f"live-{partner}", env_file=big_lock)
            (answer,) = printed(recorded)
            for line in process.stdout:
                event = json.loads(line)
                if event["id"] == answer["event"]["id"]:
                    break
            else:
                pytest.fail(process.stderr.read())
            assert event["detail-type"] == "TempKeyUsed"
            assert event["detail"]["partnerId"] == running_system.env["PARTNER_ID"]
            assert event["detail"]["version"] == answer["version"]
            assert event["detail"]["data"] == answer["event"]["data"]
            assert event["detail"]["data"]["lockId"] == BIG_LOCK_ID
        finally:
            watchdog.cancel()
            process.kill()


Batch = Sequence[tuple[int, int]]
"""(partition, sequence) of each record of a transaction."""


@pytest.fixture
async def partner_topic(
    running_system: RunningSystem,
) -> Callable[..., Any]:
    """Makes a topic that the demo's partner may read, of transactions as the fan-out makes them, of
    which some are aborted."""

    async def make(*transactions: tuple[str, Batch]) -> str:
        servers = running_system.env["KAFKA_BOOTSTRAP_SERVERS"]
        own = running_system.env["PARTNER_TOPIC"]
        topic = f"{own}.replay.test-{uuid.uuid4().hex[:10]}"
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(admin.close)
            await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
            producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=topic)
            await producer.start()
            stack.push_async_callback(producer.stop)
            for number, (outcome, batch) in enumerate(transactions):
                await producer.begin_transaction()
                for partition, sequence in batch:
                    value = {"transaction": number, "partition": partition, "sequence": sequence}
                    await producer.send_and_wait(
                        topic,
                        json.dumps(value).encode(),
                        partition=partition,
                        headers=[("sequence", b"%d" % sequence)],
                    )
                if outcome == "commit":
                    await producer.commit_transaction()
                else:
                    await producer.abort_transaction()
        return topic

    return make


@pytest.mark.parametrize("partner", PARTNERS)
async def test_a_partner_sees_what_was_committed_and_nothing_else(
    partner: str, partner_topic: Callable[..., Any], env_with: Callable[..., Path]
) -> None:
    topic = await partner_topic(
        ("commit", [(0, 1), (0, 2)]),
        ("abort", [(0, 3), (1, 1)]),
        ("commit", [(0, 3), (1, 1), (1, 2)]),
    )
    env_file = env_with(PARTNER_TOPIC=topic)
    result = await asyncio.to_thread(run, partner, "--count", "5", env_file=env_file)
    assert result.returncode == 0, result.stderr
    events = printed(result)
    of_partition = {
        partition: [
            (event["transaction"], event["sequence"])
            for event in events
            if event["partition"] == partition
        ]
        for partition in (0, 1)
    }
    assert of_partition == {0: [(0, 1), (0, 2), (2, 3)], 1: [(2, 1), (2, 2)]}


@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize(
    ("sequences", "complaint"),
    [
        pytest.param((1, 2, 4), "sequence 4 where 3 was due: events are missing", id="gap"),
        pytest.param((1, 2, 2), "sequence 2 where 3 was due: a repeat", id="repeat"),
        pytest.param((2, 3, 4), "sequence 2 where 1 was due: events are missing", id="late start"),
    ],
)
async def test_a_partner_notices(
    partner: str,
    sequences: Sequence[int],
    complaint: str,
    partner_topic: Callable[..., Any],
    env_with: Callable[..., Path],
) -> None:
    topic = await partner_topic(("commit", [(1, sequence) for sequence in sequences]))
    env_file = env_with(PARTNER_TOPIC=topic)
    result = await asyncio.to_thread(run, partner, "--count", "3", env_file=env_file)
    assert result.returncode == 1
    assert complaint in result.stderr
    assert f"{topic}[1]" in result.stderr


@pytest.mark.parametrize("partner", PARTNERS)
async def test_a_partner_that_waits_in_vain_says_so(
    partner: str, partner_topic: Callable[..., Any], env_with: Callable[..., Path]
) -> None:
    topic = await partner_topic(("commit", [(0, 1)]))
    env_file = env_with(PARTNER_TOPIC=topic)
    result = await asyncio.to_thread(run, partner, "--count", "2", env_file=env_file, timeout_s=5)
    assert result.returncode == 1
    assert "1 of 2 events came within 5" in result.stderr


# -- the script that runs them ---------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMAND_CLIENTS + PARTNERS)
def test_a_missing_language_is_named(
    name: str, running_system: RunningSystem, tmp_path: Path
) -> None:
    which = subprocess.run(["sh", "-c", "command -v dirname"], capture_output=True, check=True)
    (tmp_path / "dirname").symlink_to(which.stdout.decode().strip())
    result = subprocess.run(
        [RUN, name],
        env={"PATH": str(tmp_path), "DEMO_ENV": str(running_system.env_file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == LANGUAGE_IS_MISSING
    assert len(result.stderr.splitlines()) == 1
    assert f"{name} needs " in result.stderr


def test_a_system_that_does_not_run_is_named(tmp_path: Path) -> None:
    result = run("curl", env_file=tmp_path / "demo.env")
    assert result.returncode == 1
    assert "make run" in result.stderr
