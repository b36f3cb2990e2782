"""Rate limits per organisation and per API key: token buckets. Pure: the clock is an argument.

A bucket holds as many requests as its quota allows in one window, and is filled evenly. What is
left is told in the fields of draft-ietf-httpapi-ratelimit-headers-11.
"""

import math
from collections import OrderedDict

import msgspec

from command_api.errors import RateLimited

BUCKETS_KEPT = 20_000


class Quota(msgspec.Struct, frozen=True):
    """``size`` requests in ``window_s`` seconds; ``name`` is what callers see."""

    name: str
    size: int
    window_s: int


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """``tokens`` were left at ``at``, in seconds of any clock that only goes on."""

    tokens: float
    at: float


def refill(bucket: Bucket | None, quota: Quota, now: float) -> Bucket:
    """What the bucket holds ``now``; one that isn't known is full."""
    if bucket is None:
        return Bucket(float(quota.size), now)
    gained = max(0.0, now - bucket.at) * quota.size / quota.window_s
    return Bucket(min(float(quota.size), bucket.tokens + gained), now)


def wait_s(bucket: Bucket, quota: Quota) -> int:
    """Whole seconds until the bucket holds a whole token more than now; 0 for a full one."""
    if bucket.tokens >= quota.size:
        return 0
    missing = math.floor(bucket.tokens) + 1 - bucket.tokens
    return max(1, math.ceil(missing * quota.window_s / quota.size))


class RateLimits:
    """The buckets of all callers. Only callers whose credentials hold get one, and the one that
    was idle for longest is forgotten first, so memory is bounded."""

    def __init__(self, organization_limit: int, key_limit: int, window_s: int) -> None:
        """A limit of 0 is none."""
        self._organization = Quota("organization", organization_limit, window_s)
        self._key = Quota("key", key_limit, window_s)
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def take(self, org_id: str, key_id: str, now: float) -> dict[str, str]:
        """Takes one request from both buckets, or from neither. Returns the headers of its answer,
        none if there is no limit.

        Raises:
            RateLimited: a bucket is empty.
        """
        asked = [(q, name) for q, name in ((self._organization, org_id), (self._key, key_id))]
        states = [
            (quota, (quota.name, name), refill(self._buckets.get((quota.name, name)), quota, now))
            for quota, name in asked
            if quota.size
        ]
        empty = [(quota, bucket) for quota, _, bucket in states if bucket.tokens < 1]
        if empty:
            # Whoever asks in vain is not idle.
            for _, place, _ in states:
                if place in self._buckets:
                    self._buckets.move_to_end(place)
            headers = _fields([(quota, bucket) for quota, _, bucket in states])
            longest = max(wait_s(bucket, quota) for quota, bucket in empty)
            raise RateLimited({"Retry-After": str(longest), **headers})
        left = [(quota, place, Bucket(b.tokens - 1, now)) for quota, place, b in states]
        for _, place, bucket in left:
            self._keep(place, bucket)
        return _fields([(quota, bucket) for quota, _, bucket in left])

    def _keep(self, place: tuple[str, str], bucket: Bucket) -> None:
        self._buckets[place] = bucket
        self._buckets.move_to_end(place)
        if len(self._buckets) > BUCKETS_KEPT:
            self._buckets.popitem(last=False)

    def __len__(self) -> int:
        return len(self._buckets)


def _fields(states: list[tuple[Quota, Bucket]]) -> dict[str, str]:
    if not states:
        return {}
    policy = ", ".join(f'"{q.name}";q={q.size};w={q.window_s}' for q, _ in states)
    limits = ", ".join(f'"{q.name}";r={math.floor(b.tokens)};t={wait_s(b, q)}' for q, b in states)
    return {"RateLimit-Policy": policy, "RateLimit": limits}
