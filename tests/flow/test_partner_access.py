"""The demo's partner, as its engineer meets it: what stands in demo.env works, with the files that
the command prints."""

import json
import os
import runpy
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException

from operations.running.demo import DEMO_PARTNER
from tests.flow.conftest import RunningSystem

READ_S = 30.0


def read(config: Mapping[str, Any], topic: str, count: int) -> list[dict[str, Any]]:
    consumer = Consumer({**config, "log_level": 0})
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + READ_S
    try:
        consumer.subscribe([topic])
        while len(found) < count:
            assert time.monotonic() < deadline, found
            record = consumer.poll(0.5)
            if record is not None and record.error() is not None:
                raise KafkaException(record.error())
            if record is not None:
                found.append(json.loads(record.value()))
    finally:
        consumer.close()
    return found


def test_the_demo_says_how_its_partner_logs_in(running_system: RunningSystem) -> None:
    env = running_system.env
    config = {
        "bootstrap.servers": env["PARTNER_BOOTSTRAP_SERVERS"],
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": env["PARTNER_USERNAME"],
        "sasl.password": env["PARTNER_PASSWORD"],
        "ssl.ca.location": env["PARTNER_CA"],
        "group.id": f"{env['PARTNER_ID']}.a",
        "auto.offset.reset": "earliest",
    }
    assert env["PARTNER_BOOTSTRAP_SERVERS"] != env["KAFKA_BOOTSTRAP_SERVERS"]
    (first,) = read(config, env["PARTNER_TOPIC"], 1)
    assert first["detail-type"] == "LockCreated"
    assert stat.S_IMODE(os.stat(running_system.env_file).st_mode) == 0o600


def test_a_user_is_issued_as_a_file_for_its_client_and_revoked(
    running_system: RunningSystem, tmp_path: Path
) -> None:
    verb = running_system.lockstream
    printed = verb(
        "partner", "credentials", "issue", "--id", DEMO_PARTNER, "--client-config", "python"
    )
    (tmp_path / "client.py").write_text(printed)
    client = runpy.run_path(str(tmp_path / "client.py"))
    user = client["CONFIG"]["sasl.username"]
    assert read(client["CONFIG"], client["TOPIC"], 1)[0]["detail-type"] == "LockCreated"

    shown = json.loads(verb("partner", "show", "--id", DEMO_PARTNER, "--json"))
    assert user in shown["users"]
    assert client["CONFIG"]["sasl.password"] not in verb("partner", "show", "--id", DEMO_PARTNER)
    verb("partner", "credentials", "revoke", "--id", DEMO_PARTNER, "--user", user)
    listed = json.loads(verb("partner", "credentials", "list", "--id", DEMO_PARTNER, "--json"))
    assert {one["user"]: one["state"] for one in listed}[user] == "revoked"
    with pytest.raises((KafkaException, AssertionError)):
        read({**client["CONFIG"], "socket.timeout.ms": 3000}, client["TOPIC"], 1)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("credentials", "issue", "--id", "nobody"), "there is no partner nobody"),
        (("credentials", "list", "--id", "nobody"), "there is no partner nobody"),
        (("credentials", "revoke", "--id", "nobody", "--all"), "partner nobody has no user"),
        (("credentials", "revoke", "--id", DEMO_PARTNER), "name the --user to revoke, or --all"),
        (("credentials", "revoke", "--id", DEMO_PARTNER, "--user", "x"), "has no user x"),
        (("show", "--id", "nobody"), "there is no partner nobody"),
        (
            ("show", "--id", DEMO_PARTNER, "--user", "x", "--client-config", "java"),
            "has no user x",
        ),
        (("add", "--id", f"{DEMO_PARTNER}.eu", "--org", "demo"), "use another id"),
        (("add", "--id", "fanout", "--org", "demo"), "our own fanout"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_can_not_be_done_is_told_in_one_line(
    running_system: RunningSystem, arguments: tuple[str, ...], complaint: str
) -> None:
    done = running_system.try_lockstream("partner", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert complaint in line


def test_the_partners_user_and_its_broker_stay_over_a_restart(own_system: RunningSystem) -> None:
    names = ("PARTNER_BOOTSTRAP_SERVERS", "PARTNER_USERNAME", "PARTNER_PASSWORD", "PARTNER_CA")
    own_system.start()
    before = {name: own_system.env[name] for name in names}
    authority = Path(before["PARTNER_CA"]).read_bytes()
    own_system.stop()
    own_system.start()
    assert {name: own_system.env[name] for name in names} == before
    assert Path(before["PARTNER_CA"]).read_bytes() == authority
    own_system.stop()
