"""Limits the requests per organisation and per API key. Pure: the clock is an argument.

What is left is reported in the fields of draft-ietf-httpapi-ratelimit-headers-11.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence

from command_api.errors import RateLimited
from command_api.token_bucket import Quota, TokenBucket

BUCKETS_KEPT = 20_000


class RateLimits:
    """Keeps the buckets of all callers with good credentials. The one that was idle for longest is
    forgotten first, so memory is bounded."""

    def __init__(self, organization_limit: int, key_limit: int, window_s: int) -> None:
        """A limit of 0 is none."""
        self._organization = Quota("organization", organization_limit, window_s)
        self._key = Quota("key", key_limit, window_s)
        self._is_limited = organization_limit > 0 or key_limit > 0
        self._buckets: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()

    def take(self, org_id: str, key_id: str, now: float) -> dict[str, str]:
        """Takes one request from both buckets, or from neither. Returns the headers of its answer,
        none if there is no limit.

        Raises:
            RateLimited: a bucket is empty.
        """
        if not self._is_limited:
            return {}
        quotas = ((self._organization, org_id), (self._key, key_id))
        buckets = {
            (quota.name, name): self._bucket(quota, name, now)
            for quota, name in quotas
            if quota.size
        }
        empty = [bucket for bucket in buckets.values() if bucket.tokens < 1]
        if empty:
            # A caller that is refused is not idle.
            for owner in buckets:
                if owner in self._buckets:
                    self._buckets.move_to_end(owner)
            longest = max(bucket.wait_s() for bucket in empty)
            raise RateLimited({"Retry-After": str(longest), **_fields([*buckets.values()])})
        left = {owner: bucket.take() for owner, bucket in buckets.items()}
        for owner, bucket in left.items():
            self._keep(owner, bucket)
        return _fields([*left.values()])

    def _bucket(self, quota: Quota, name: str, now: float) -> TokenBucket:
        kept = self._buckets.get((quota.name, name))
        return TokenBucket.full(quota, now) if kept is None else kept.refilled(now)

    def _keep(self, owner: tuple[str, str], bucket: TokenBucket) -> None:
        self._buckets[owner] = bucket
        self._buckets.move_to_end(owner)
        if len(self._buckets) > BUCKETS_KEPT:
            self._buckets.popitem(last=False)

    def __len__(self) -> int:
        return len(self._buckets)


def _fields(buckets: Sequence[TokenBucket]) -> dict[str, str]:
    if not buckets:
        return {}
    quotas = [bucket.quota for bucket in buckets]
    policy = ", ".join(f'"{q.name}";q={q.size};w={q.window_s}' for q in quotas)
    limits = ", ".join(f'"{b.quota.name}";r={math.floor(b.tokens)};t={b.wait_s()}' for b in buckets)
    return {"RateLimit-Policy": policy, "RateLimit": limits}
