"""Formats that were true of every record before its schema said so: none but Lockstream has ever
written these fields, always so. The list is closed: whoever gives a field that is read a format
narrows what it may hold, and needs a new type."""

from collections.abc import Mapping

_EVENT = {"$.occurredAt": "date-time", "$.recordedAt": "date-time", "$.version": "int64"}

SAID_LATER: Mapping[str, Mapping[str, str]] = {
    "lock-events.LockCreated": _EVENT,
    "lock-events.OrganizationSet": _EVENT,
    "lock-events.TempKeyUsed": {**_EVENT, "$.data.usedCount": "int64"},
    "lock-events.headers": {"$.version": "int64", "$.source-offset": "int64"},
    "lock-facts.parked.headers": {
        "$.source-offset": "int64",
        "$.parked-at": "date-time",
        "$.lock-id": "int64",
    },
    "registry.organization": {"$.createdAt": "date-time"},
    "registry.apiKey": {
        "$.createdAt": "date-time",
        "$.notAfter": "date-time",
        "$.revokedAt": "date-time",
    },
    "registry.partner": {
        "$.createdAt": "date-time",
        "$.startOffsets[]": "int64",
        "$.pausedAt[].nextOffset": "int64",
        "$.pausedAt[].sequence": "int64",
        "$.pausedAt[].outputEnd": "int64",
    },
}
