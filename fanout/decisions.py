"""Decides whether a partner gets an event. Pure, from the headers alone."""

from schemas.lock_events import EventHeaders
from schemas.registry import Partner

ALL_TYPES = "*"


def delivers(headers: EventHeaders, partner: Partner) -> bool:
    """Returns whether it is the partner's organisation's, and of a type that it has subscribed
    to."""
    if headers.org_id != partner.org_id:
        return False
    return ALL_TYPES in partner.types or headers.event_type in partner.types
