"""Decides whether a partner gets an event. Pure, from the headers alone."""

from schemas.lock_events import EventHeaders
from schemas.registry import Partner

ALL_TYPES = "*"


def delivers(headers: EventHeaders, partner: Partner, partition: int, offset: int) -> bool:
    """Returns whether an event is the partner's organisation's, and of a type that its subscription
    named where the event stands in ``lock-events``."""
    if headers.org_id != partner.org_id:
        return False
    types = partner.types_at(partition, offset)
    return ALL_TYPES in types or headers.event_type in types
