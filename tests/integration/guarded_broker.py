"""A broker that asks who one is, and lets each do only what it may: SASL and Kafka's own ACLs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from aiokafka.protocol.api import Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

from eventlog.kafka import Kafka
from eventlog.kafka_requests import Request
from eventlog.local.local_broker import LocalBroker
from runtime.ports import free_port
from runtime.settings import Settings

TOPIC, GROUP, CLUSTER, TRANSACTIONAL_ID = 2, 3, 4, 5
ALL, READ, WRITE, CREATE, DELETE = 2, 3, 4, 5, 6
_LITERAL, _DENY, _ALLOW = 3, 2, 3

USERS = {
    "admin": (),
    "all": (),
    "no-write": ((TOPIC, WRITE),),
    "no-read": ((TOPIC, READ),),
    "no-create": ((TOPIC, CREATE), (CLUSTER, CREATE)),
    "no-delete": ((TOPIC, DELETE), (CLUSTER, DELETE)),
    "no-topics": ((TOPIC, ALL),),
    "no-group": ((GROUP, READ),),
    "no-groups": ((GROUP, ALL),),
    "no-transactions": ((TRANSACTIONAL_ID, WRITE),),
}
"""What each may not do, of everything. A user's password is its name."""


class Guarded(msgspec.Struct, frozen=True):
    """``open``: where everybody may do everything; ``guarded``: where one has to log in."""

    open: str
    guarded: str

    def as_user(self, settings: Settings, user: str, password: str | None = None) -> Settings:
        return msgspec.structs.replace(
            settings,
            kafka_bootstrap_servers=self.guarded,
            kafka_security_protocol="SASL_PLAINTEXT",
            kafka_sasl_mechanism="PLAIN",
            kafka_sasl_username=user,
            kafka_sasl_password=user if password is None else password,
        )


@contextmanager
def guarded_broker(folder: Path, names: Iterable[str] = USERS) -> Iterator[Guarded]:
    ports = client, controller, guarded = free_port(0), free_port(0), free_port(0)
    assert len(set(ports)) == len(ports)
    folder.mkdir(parents=True)
    (folder / "ports.json").write_bytes(
        msgspec.json.encode({"client": client, "controller": controller})
    )
    users = " ".join(f'user_{name}="{name}"' for name in names)
    plain = f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
    opened, locked = f"127.0.0.1:{client}", f"127.0.0.1:{guarded}"
    broker = LocalBroker.start(
        folder,
        heap_mib=256,
        properties={
            "listeners": f"PLAINTEXT://{opened},GUARDED://{locked},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{opened},GUARDED://{locked}",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:admin",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.guarded.plain.sasl.jaas.config": plain,
        },
    )
    try:
        assert broker.bootstrap_servers == opened
        yield Guarded(opened, locked)
    finally:
        broker.stop()


class _Created(Response):  # type: ignore[misc]
    results: list[tuple[int, str | None]]

    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_ms", Int32), ("results", Array(("code", Int16), ("message", String("utf-8"))))
    )


_ACLS = Array(
    ("resource_type", Int8),
    ("name", String("utf-8")),
    ("pattern", Int8),
    ("principal", String("utf-8")),
    ("host", String("utf-8")),
    ("operation", Int8),
    ("permission", Int8),
)


class _CreateAcls(Request[_Created]):
    API_KEY = 30
    API_VERSION = 1
    FLEXIBLE_VERSION = False
    RESPONSE_TYPE = _Created


async def set_rights(kafka: Kafka) -> None:
    """Everybody may do everything, but what ``USERS`` says."""
    acls = [
        (kind, "kafka-cluster" if kind == CLUSTER else "*", _LITERAL, "User:*", "*", ALL, _ALLOW)
        for kind in (TOPIC, GROUP, CLUSTER, TRANSACTIONAL_ID)
    ]
    acls += [
        (
            kind,
            "kafka-cluster" if kind == CLUSTER else "*",
            _LITERAL,
            f"User:{user}",
            "*",
            op,
            _DENY,
        )
        for user, denied in USERS.items()
        for kind, op in denied
    ]
    async with kafka.admin() as admin:
        answer = await admin.connections.ask_any(_CreateAcls(_ACLS.encode(acls)))
        assert [code for code, _ in answer.results] == [0] * len(acls), answer
