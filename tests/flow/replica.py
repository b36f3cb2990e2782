"""Another replica of the API beside a running system's own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec

from operations.organizations.signing import local_issuer
from runtime.issuers import write_issuers
from runtime.ports import free_port
from tests.flow.conftest import RunningSystem
from tests.jwks_server import wait_until

READY_S = 60


class Replica(msgspec.Struct, frozen=True):
    url: str
    log: Path
    process: subprocess.Popen[bytes]


@contextmanager
def second_api(system: RunningSystem, *options: str, **variables: str) -> Iterator[Replica]:
    """It runs, with these settings besides the system's, until the context ends."""
    url, log = f"http://127.0.0.1:{free_port(0)}", system.folder / "second-api.log"
    configured = json.loads(system._environment.get("LOCKSTREAM_JWT_ISSUERS") or "[]")
    local = json.loads(write_issuers([local_issuer(system.folder)]))
    environment = {
        **system._environment,
        "LOCKSTREAM_API_PORT": url.rpartition(":")[2],
        "LOCKSTREAM_JWT_ISSUERS": json.dumps(configured + local),
        **{name: system.env[name] for name in ("KAFKA_BOOTSTRAP_SERVERS", "READ_MODEL_URL")},
        **variables,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "operations", "api", "--supervised", *options],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: is_ready(url), READY_S)
        yield Replica(url, log, process)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
