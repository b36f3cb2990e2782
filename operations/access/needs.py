"""Says what each role and each verb needs to be allowed in Kafka, and no more. Pure.

In Kafka, who may read, write, alter or delete may describe, too.
"""

from collections.abc import Callable, Mapping

import msgspec

from eventlog.acls import CLUSTER, Acl, Operation, Resource, allowed
from schemas.topic_configs import LARGEST, lock_topics
from schemas.topics import LockTopics

ROLES = ("api", "projector", "fanout")


class Need(msgspec.Struct, frozen=True):
    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


def acls_of(topics: LockTopics, program: str, principal: str) -> list[Acl]:
    """Returns the rules that allow the principal what the role or the verbs need, each once."""
    rules = [
        acl
        for need in _TABLE[program](topics)
        for acl in allowed(
            principal, need.resource, need.name, need.operations, prefixed=need.prefixed
        )
    ]
    return list(dict.fromkeys(rules))


# -- what several have in common -------------------------------------------------------------------


def _topic(name: str, *operations: Operation) -> Need:
    return Need("topic", name, operations)


def _seeing(topics: LockTopics) -> list[Need]:
    """Whoever starts looks whether the four topics are there and as they should be."""
    return [
        _topic(topic.name, "describe", *(("describe-configs",) if LARGEST in topic.config else ()))
        for topic in lock_topics(topics)
    ]


def _making(topics: LockTopics) -> list[Need]:
    """The first one makes them, and gives them room for the largest record."""
    return [
        _topic(topic.name, "create", *(("alter-configs",) if LARGEST in topic.config else ()))
        for topic in lock_topics(topics)
    ]


def _editing(topics: LockTopics) -> list[Need]:
    """Entries of the registry are written in a transaction that fences other editors."""
    return [
        _topic(topics.registry, "read", "write"),
        Need("transactional-id", f"editor.{topics.registry}.0", ("write",)),
    ]


def _partner_topics(topics: LockTopics, *operations: Operation) -> Need:
    return Need("topic", f"{topics.prefix}partner.", operations, prefixed=True)


def _partners_groups(topics: LockTopics) -> Need:
    """What a partner has read is seen in groups of its own, which have the partners' names."""
    return Need("group", topics.prefix or "*", ("describe",), prefixed=bool(topics.prefix))


def _all_stages(topics: LockTopics) -> list[Need]:
    """Whoever changes the number of lanes looks at every stage, and ends what it wrote under."""
    before_lanes = (f"projector.{topics.lock_facts}.", "fanout.")
    ids = (f"{topics.projector_group}.", f"{topics.group('fanout')}.", *before_lanes)
    return [
        Need("group", topics.projector_group, ("describe",)),
        Need("group", f"{topics.group('fanout')}.", ("describe",), prefixed=True),
        *(Need("transactional-id", name, ("write",), prefixed=True) for name in dict.fromkeys(ids)),
    ]


# -- roles -----------------------------------------------------------------------------------------


def _api(topics: LockTopics) -> list[Need]:
    return [
        *_seeing(topics),
        _topic(topics.lock_facts, "read", "write"),
        _topic(topics.lock_events, "read"),
        _topic(topics.parked_facts, "read"),
        _topic(topics.registry, "read", "write"),
    ]


def _projector(topics: LockTopics) -> list[Need]:
    return [
        *_seeing(topics),
        *_editing(topics),
        *_all_stages(topics),
        _topic(topics.lock_facts, "read"),
        _topic(topics.lock_events, "read", "write"),
        _topic(topics.parked_facts, "read", "write"),
        Need("group", topics.projector_group, ("read",)),
    ]


def _fanout(topics: LockTopics) -> list[Need]:
    return [
        *_seeing(topics),
        *_editing(topics),
        *_all_stages(topics),
        _topic(topics.lock_events, "read"),
        _partner_topics(topics, "read", "write", "create", "describe-configs", "alter-configs"),
        Need("group", f"{topics.group('fanout')}.", ("read",), prefixed=True),
        _partners_groups(topics),
    ]


# -- verbs -----------------------------------------------------------------------------------------


def _lock(topics: LockTopics) -> list[Need]:
    return [
        *_seeing(topics),
        *_making(topics),
        _topic(topics.lock_facts, "read", "write"),
        _topic(topics.lock_events, "read"),
        _topic(topics.parked_facts, "read"),
        _topic(topics.registry, "read"),
    ]


def _org(topics: LockTopics) -> list[Need]:
    return [*_seeing(topics), *_making(topics), *_editing(topics)]


def _key(topics: LockTopics) -> list[Need]:
    return _editing(topics)


def _partner(topics: LockTopics) -> list[Need]:
    return [
        *_seeing(topics),
        *_making(topics),
        *_editing(topics),
        *_all_stages(topics),
        _topic(topics.lock_events, "read"),
        _partner_topics(
            topics, "read", "create", "delete", "alter", "describe-configs", "alter-configs"
        ),
        Need("group", f"{topics.group('fanout')}.", ("read", "delete"), prefixed=True),
        _partners_groups(topics),
        Need("cluster", CLUSTER, ("describe", "alter", "alter-configs")),
    ]


def _parked(topics: LockTopics) -> list[Need]:
    return [
        *_editing(topics),
        _topic(topics.lock_facts, "read", "write"),
        _topic(topics.lock_events, "read"),
        _topic(topics.parked_facts, "read"),
    ]


def _status(topics: LockTopics) -> list[Need]:
    return [
        _topic(topics.registry, "read"),
        _topic(topics.lock_facts, "read"),
        _topic(topics.lock_events, "read"),
        _topic(topics.parked_facts, "read"),
        Need("group", topics.projector_group, ("describe",)),
        Need("group", f"{topics.group('fanout')}.", ("describe",), prefixed=True),
    ]


def _replay(topics: LockTopics) -> list[Need]:
    return [_topic(topics.lock_events, "read")]


def _rebuild(topics: LockTopics) -> list[Need]:
    return [
        _topic(topics.lock_events, "read"),
        _topic(topics.lock_facts, "describe"),
        Need("group", topics.projector_group, ("describe",)),
    ]


def _verify(topics: LockTopics) -> list[Need]:
    return [*_status(topics), _partner_topics(topics, "read")]


def _acl(_: LockTopics) -> list[Need]:
    return [Need("cluster", CLUSTER, ("describe", "alter"))]


_TABLE: Mapping[str, Callable[[LockTopics], list[Need]]] = {
    "api": _api,
    "projector": _projector,
    "fanout": _fanout,
    "lock": _lock,
    "org": _org,
    "key": _key,
    "partner": _partner,
    "parked": _parked,
    "status": _status,
    "replay": _replay,
    "rebuild": _rebuild,
    "verify": _verify,
    "acl": _acl,
}
VERBS = tuple(name for name in _TABLE if name not in ROLES)
"""The groups of verbs."""
