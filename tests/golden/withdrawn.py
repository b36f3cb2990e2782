"""Fields of what we write that were promised and had to be withdrawn all the same, with the reason.
The list is closed: whoever relied on one of these must find it in the changelog."""

from collections.abc import Mapping

WITHDRAWN: Mapping[str, Mapping[str, str]] = {
    "partner.lock-events.headers": {
        "$.source-offset": "it counts everybody's events: one partner read from it how much all "
        "others record"
    },
}
