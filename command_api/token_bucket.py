"""Limits how often something is done, with a token bucket. Pure: the clock is an argument."""

import math

import msgspec


class Quota(msgspec.Struct, frozen=True):
    """Allows ``size`` requests in ``window_s`` seconds; ``name`` is what callers see."""

    name: str
    size: int
    window_s: int


class TokenBucket(msgspec.Struct, frozen=True, gc=False):
    """Holds the ``tokens`` left at ``at``, in seconds of a monotonic clock. It fills evenly."""

    quota: Quota
    tokens: float
    at: float

    @classmethod
    def full(cls, quota: Quota, now: float) -> "TokenBucket":
        return cls(quota, float(quota.size), now)

    def refilled(self, now: float) -> "TokenBucket":
        """Returns what the bucket holds ``now``."""
        quota = self.quota
        gained = max(0.0, now - self.at) * quota.size / quota.window_s
        return TokenBucket(quota, min(float(quota.size), self.tokens + gained), now)

    def take(self) -> "TokenBucket":
        """Returns the bucket with one token less, empty if it had less than one."""
        return TokenBucket(self.quota, max(0.0, self.tokens - 1), self.at)

    def wait_s(self) -> int:
        """Returns the whole seconds until there is a whole token more than now; 0 if full."""
        if self.tokens >= self.quota.size:
            return 0
        missing = math.floor(self.tokens) + 1 - self.tokens
        return max(1, math.ceil(missing * self.quota.window_s / self.quota.size))
