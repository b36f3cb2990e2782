"""Each role and each group of verbs works under a user of its own that may do only what `acl apply`
allows it, on a broker that denies the rest."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from eventlog.local.local_broker import LocalBroker
from operations.access.needs import ROLES, VERBS
from runtime.ports import free_port
from tests.integration.guarded_broker import Guarded, guarded_broker

NOBODY = "nobody"
LOCK_ID = 7
READY_S = 60.0

pytestmark = pytest.mark.timeout(900)


class Guest:
    """An installation on a cluster that others run: every program has a user of its own there."""

    def __init__(self, folder: Path, broker: Guarded) -> None:
        self._folder = folder
        self._broker = broker
        self._processes: list[subprocess.Popen[bytes]] = []
        self.ports = {role: free_port(0) for role in ROLES}

    def environment(self, user: str | None) -> dict[str, str]:
        issuer = {
            "issuer": "https://lockstream.local/",
            "audience": "lockstream",
            "jwks": str(self._folder / "jwks.json"),
        }
        settings = {
            "LOCKSTREAM_STATE_DIR": str(self._folder),
            "LOCKSTREAM_PARTITIONS": "3",
            "LOCKSTREAM_TOPIC_PREFIX": "guest-",
            "LOCKSTREAM_JWT_ISSUERS": json.dumps([issuer]),
            "LOCKSTREAM_API_PORT": str(self.ports["api"]),
            "LOCKSTREAM_PROJECTOR_HEALTH_PORT": str(self.ports["projector"]),
            "LOCKSTREAM_FANOUT_HEALTH_PORT": str(self.ports["fanout"]),
            "READ_MODEL_URL": f"sqlite:///{self._folder}/read_model.db",
            "KAFKA_BOOTSTRAP_SERVERS": self._broker.open,
        }
        if user is not None:
            settings |= {
                "KAFKA_BOOTSTRAP_SERVERS": self._broker.guarded,
                "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "KAFKA_SASL_MECHANISM": "PLAIN",
                "KAFKA_SASL_USERNAME": user,
                "KAFKA_SASL_PASSWORD": user,
            }
        return {**os.environ, **settings}

    def run(self, *arguments: str, user: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "operations", *arguments],
            env=self.environment(user),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def verb(self, *arguments: str) -> str:
        """Runs a verb under the user of its group; returns what it printed."""
        done = self.run(*arguments, user=arguments[0])
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout.strip()

    def start(self, role: str) -> None:
        with (self._folder / f"{role}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "operations", role],
                    env=self.environment(role),
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    def wait_until_ready(self, role: str) -> None:
        page = f"http://127.0.0.1:{self.ports[role]}/readyz"
        deadline = time.monotonic() + READY_S
        while (found := _obstacles(page)) != "":
            assert time.monotonic() < deadline, f"{role}: {found}\n{self.log(role)}"
            time.sleep(0.1)

    def log(self, role: str) -> str:
        return (self._folder / f"{role}.log").read_text()[-3000:]

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)


def _obstacles(page: str) -> str:
    try:
        with urllib.request.urlopen(page, timeout=2):
            return ""
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError as error:
        return str(error)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded") / "broker"
    with guarded_broker(folder, (*ROLES, *VERBS, NOBODY)) as found:
        yield found


@pytest.fixture(scope="module")
def guest(broker: Guarded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    found = Guest(tmp_path_factory.mktemp("state"), broker)
    for program in (*ROLES, *VERBS):
        done = found.run(
            "acl", "apply", "--for", program, "--principal", f"User:{program}", user=None
        )
        assert done.returncode == 0, done.stderr
    found.run("token", "mint", "--sub", "alice", user=None)  # makes the signing key
    found.verb("org", "add", "--id", "acme")
    for role in ROLES:
        found.start(role)
    try:
        for role in ROLES:
            found.wait_until_ready(role)
        yield found
    finally:
        found.stop()


def use_temp_key(guest: Guest) -> int:
    """Records a use through the API; returns its version."""
    key = guest.verb("key", "issue", "--org", "acme")
    token = guest.run("token", "mint", "--sub", "alice", user=None).stdout.strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{guest.ports['api']}/locks/{LOCK_ID}/use-temp-key",
        data=json.dumps({"tempKeyUuid": "t"}).encode(),
        headers={
            "Authorization": f"Bearer {token}",
            "X-API-Key": key,
            "Content-Type": "application/json",
            "Idempotency-Key": "once",
        },
    )
    deadline = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                if answer.status == 200:
                    version: int = json.load(answer)["version"]
                    return version
        except urllib.error.HTTPError as error:
            # 401 until the API has read of the key.
            if error.code not in (401, 503):
                raise
        assert time.monotonic() < deadline, guest.log("api")
        time.sleep(0.2)


def test_every_role_and_every_verb_works_with_what_it_is_allowed(
    guest: Guest, tmp_path: Path
) -> None:
    guest.verb("lock", "add", "--id", str(LOCK_ID), "--org", "acme")
    guest.verb("lock", "show", str(LOCK_ID))
    guest.verb("partner", "add", "--id", "acme-crm", "--org", "acme")
    assert use_temp_key(guest) == 2

    guest.verb("partner", "credentials", "issue", "--id", "acme-crm")
    states = json.loads(guest.verb("partner", "credentials", "list", "--id", "acme-crm", "--json"))
    assert [one["state"] for one in states] == ["live"]
    guest.verb("partner", "show", "--id", "acme-crm")
    guest.verb("partner", "list")
    guest.verb("partner", "set", "acme-crm", "--types", "TempKeyUsed")
    deadline = time.monotonic() + READY_S
    while json.loads(guest.verb("partner", "lag", "--json"))[0]["lag"]:
        assert time.monotonic() < deadline, guest.log("fanout")
    guest.verb("partner", "missing", "--id", "acme-crm")
    wait_for_a_metric(guest, 'lockstream_partner_groups{partner="acme-crm"} 0.0')
    wait_for_a_metric(guest, 'lockstream_partner_undelivered_events{partner="acme-crm"} 0.0')
    guest.verb("partner", "offsets", "--id", "acme-crm", "--at", "2026-01-01")
    guest.verb("partner", "replay", "--id", "acme-crm", "--from", "earliest")
    guest.verb("partner", "replays", "--id", "acme-crm")
    guest.verb("partner", "set", "acme-crm", "--retention", "90d", "--max-rate", "5MiB")
    guest.verb("partner", "pause", "acme-crm")
    guest.verb("partner", "resume", "acme-crm")
    guest.verb("partner", "credentials", "revoke", "--id", "acme-crm", "--all")

    guest.verb("org", "list")
    guest.verb("key", "list")
    guest.verb("parked", "list")
    guest.verb("status")
    assert len(guest.verb("replay").splitlines()) == 2
    guest.verb("verify")
    guest.verb("partner", "remove", "acme-crm", "--delete-topic")
    guest.verb("acl", "apply", "--for", "api", "--principal", "User:api")


def wait_for_a_metric(guest: Guest, line: str) -> None:
    """Returns when the fan-out shows it: it asks every 15 s."""
    deadline = time.monotonic() + READY_S
    while line not in _page(f"http://127.0.0.1:{guest.ports['fanout']}/metrics"):
        assert time.monotonic() < deadline, guest.log("fanout")
        time.sleep(0.2)


def _page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=5) as answer:
        return str(answer.read(), "utf-8")


REFUSED: Sequence[tuple[str, ...]] = (
    ("org", "add", "--id", "other"),
    ("lock", "add", "--id", "8", "--org", "acme"),
    ("key", "issue", "--org", "acme"),
    ("partner", "add", "--id", "other", "--org", "acme"),
    ("partner", "credentials", "issue", "--id", "other"),
    ("parked", "list"),
    ("status",),
    ("replay",),
    ("verify",),
    ("acl", "apply"),
)


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_who_is_allowed_nothing_is_told_so_in_one_line(
    guest: Guest, arguments: tuple[str, ...]
) -> None:
    done = guest.run(*arguments, user=NOBODY)
    assert done.returncode in (1, 2), done.stdout
    assert "uthorization" in done.stderr or "no such topic" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_a_role_is_not_allowed_it_does_not_need(guest: Guest) -> None:
    """The API is not allowed to write events, say: the rules are no more than what they say."""
    printed = json.loads(guest.run("acl", "print", "--for", "api", "--json", user=None).stdout)
    writes = {rule["name"] for rule in printed if rule["operation"] == "write"}
    assert writes == {"guest-lock-facts", "guest-registry"}


def test_a_cluster_without_an_authorizer_is_told_in_one_line(tmp_path: Path) -> None:
    broker = LocalBroker.start(tmp_path / "broker", port=free_port(0), heap_mib=256)
    try:
        guest = Guest(tmp_path, Guarded(broker.bootstrap_servers, broker.bootstrap_servers))
        guest.run("org", "add", "--id", "acme", user=None)
        added = guest.run("partner", "add", "--id", "crm", "--org", "acme", user=None)
        assert added.returncode == 0, added.stderr
        for arguments in (
            ("partner", "credentials", "issue", "--id", "crm"),
            ("acl", "apply"),
        ):
            done = guest.run(*arguments, user=None)
            assert done.returncode == 2
            (line,) = done.stderr.strip().splitlines()
            assert "no authorizer" in line
        shown = json.loads(guest.run("partner", "show", "--id", "crm", "--json", user=None).stdout)
        assert shown["users"] == []
    finally:
        broker.stop()
