"""Decides what a partner may do in Kafka, and under which names. Pure."""

from collections.abc import Iterable, Sequence

from eventlog.acls import Acl, Operation, allowed, principal_of
from runtime.errors import ConfigurationError
from schemas.registry import Partner
from schemas.topics import LockTopics

SEPARATOR = "/"
"""Stands in no partner's id, so that no user of one is a user of another."""


def next_user(topics: LockTopics, partner: Partner) -> str:
    """Names the partner's next user: ``acme-crm/1``, ``acme-crm/2`` … No name comes twice."""
    return f"{topics.group(partner.id)}{SEPARATOR}{len(partner.credentials) + 1}"


def partner_acls(topics: LockTopics, partner_id: str, user: str) -> list[Acl]:
    """Returns what a partner's user may do: read its own topics, and use its own groups."""
    principal, group = principal_of(user), topics.group(partner_id)
    own = topics.partner_events(partner_id)
    reads: Sequence[Operation] = ("read", "describe")
    return [
        *allowed(principal, "topic", own, reads),
        *allowed(principal, "topic", f"{own}.replay.", reads, prefixed=True),
        *allowed(principal, "group", group, reads),
        *allowed(principal, "group", f"{group}.", reads, prefixed=True),
    ]


def check_apart(partner_id: str, others: Iterable[str]) -> None:
    """Checks that what a partner may use, by the beginning of its name, is nobody else's.

    Raises:
        ConfigurationError: it is another partner's too, or a consumer group of ours.
    """
    for ours in ("projector", "fanout"):
        if partner_id == ours or partner_id.startswith(f"{ours}."):
            raise ConfigurationError(
                f"--id: {partner_id} would be allowed the consumer groups of our own {ours}; "
                "use another id"
            )
    for other in sorted(others):
        if _covers(partner_id, other) or _covers(other, partner_id):
            raise ConfigurationError(
                f"--id: {partner_id} and partner {other}: one may use every consumer group whose "
                "name begins with its id and '.', so the other's too; use another id"
            )


def _covers(one: str, other: str) -> bool:
    return other.startswith(f"{one}.")
