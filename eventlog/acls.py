"""Defines the rules by which Kafka lets somebody do something (KIP-11, KIP-290)."""

from collections.abc import Iterable
from typing import Literal

import msgspec

Resource = Literal["topic", "group", "transactional-id", "cluster"]
Operation = Literal[
    "read",
    "write",
    "create",
    "delete",
    "alter",
    "describe",
    "describe-configs",
    "alter-configs",
]
CLUSTER = "kafka-cluster"
"""The one name that a cluster has in a rule."""


class Acl(msgspec.Struct, frozen=True, order=True):
    """Allows a principal one operation, from any host. ``principal``: ``User:<name>``;
    ``prefixed``: on all whose names begin with ``name``."""

    principal: str
    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False


def principal_of(user: str) -> str:
    return f"User:{user}"


def allowed(
    principal: str,
    resource: Resource,
    name: str,
    operations: Iterable[Operation],
    *,
    prefixed: bool = False,
) -> list[Acl]:
    """Returns a rule for each of the operations."""
    return [Acl(principal, resource, name, operation, prefixed) for operation in operations]
