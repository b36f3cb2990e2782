"""Where the attempts are made: a broker with its listener for partners, two partners, and what is
theirs and ours."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from schemas.topics import LockTopics


class Login(msgspec.Struct, frozen=True):
    servers: str
    ca: Path
    user: str
    password: str
    group: str
    """A consumer group that this user may use."""

    @property
    def librdkafka(self) -> dict[str, str | int]:
        return {
            "bootstrap.servers": self.servers,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": self.user,
            "sasl.password": self.password,
            "ssl.ca.location": str(self.ca),
            "log_level": 0,
        }


class Victims(msgspec.Struct, frozen=True):
    """Names what the attempts aim at. ``own``: the caller's topic; ``topic``: another's;
    ``group``: another's, with offsets; ``internal``: our topics, then our groups."""

    own: str
    topic: str
    group: str
    internal_topics: tuple[str, ...]
    internal_groups: tuple[str, ...]

    @classmethod
    def of(cls, topics: LockTopics, own: str, other: str) -> "Victims":
        return cls(
            own=topics.partner_events(own),
            topic=topics.partner_events(other),
            group=f"{topics.group(other)}.reader",
            internal_topics=(
                topics.lock_events,
                topics.lock_facts,
                topics.parked_facts,
                topics.registry,
                "__consumer_offsets",
                "__transaction_state",
            ),
            internal_groups=(topics.projector_group, topics.fanout_group(own)),
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """Returns the variables by which the scripts in other languages learn of them."""
        return {
            "OWN_TOPIC": self.own,
            "OTHER_TOPIC": self.topic,
            "OTHER_GROUP": self.group,
            "INTERNAL_TOPICS": ",".join(self.internal_topics),
            "INTERNAL_GROUPS": ",".join(self.internal_groups),
        }


REFUSED, ALLOWED = "refused", "allowed"
"""What came of an attempt; anything else is a text that says what went wrong with it."""
