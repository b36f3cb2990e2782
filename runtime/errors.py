"""Draws the error tree: an error's type decides the fate of the record or request it stopped.

LockstreamError
├── ConfigurationError       a setting or an argument is missing or bad: say so, exit 2
│   └── AlreadySaid          … and a process of ours has said so: only exit 2
├── Unavailable              it may work later: retry, or 503 with Retry-After
│   ├── KafkaUnavailable     the broker can't be reached or can't take this now
│   ├── OutcomeUnknown       it was sent, but no answer came: it may or may not be recorded
│   ├── OutputUncertain      a transaction went wrong: discard the producer, fence, restore
│   ├── ReadModelUnavailable the database can't be reached, or is behind what was asked for
│   ├── IssuerUnavailable    the keys that a token must be checked against can't be had
│   └── BrokerUnavailable    the local broker can't be fetched or started
├── KafkaRefused             Kafka refuses for good (rights, names, sizes, versions): say it, stop
│   └── OutputRefused        it refuses the outputs of some partitions: those stop
├── StageStopped             going on would break a promise: stop, loudly, until someone looks
│   ├── PartitionsChanged    a topic's partition count is not the installation's
│   ├── LanesChanged         another number of lanes is on record than this process works with
│   ├── PositionLost         retention has deleted records that were not yet processed
│   └── StreamViolation      the log or the read model is not what its rules say
└── CommandRefused           the caller's fault: 4xx (drawn in command_api/errors.py)
"""

from collections.abc import Mapping


class LockstreamError(Exception):
    """Stands for all errors below. The text is one sentence for a person."""


class ConfigurationError(LockstreamError):
    """A setting or an argument is missing or bad; the text names it."""


class AlreadySaid(ConfigurationError):
    """A process that was started for us has ended for such a reason, and has written it where we
    write."""


class Unavailable(LockstreamError):
    """What was asked for may work later."""


class KafkaUnavailable(Unavailable):
    """The broker can't be reached, or can't take or tell this now."""


class OutcomeUnknown(Unavailable):
    """A record was sent and no answer came: it may or may not be in the log."""


class OutputUncertain(Unavailable):
    """A transaction went wrong: its producer must be discarded and the partition restored."""


class ReadModelUnavailable(Unavailable):
    """The database can't be reached, or does not hold yet what was asked for."""


class IssuerUnavailable(Unavailable):
    """The keys that a token must be checked against can't be had now."""


class BrokerUnavailable(Unavailable):
    """The local broker can't be fetched or started."""


class KafkaRefused(LockstreamError):
    """Kafka refuses a request for good: a right, a name, a size or a version is wrong."""


class OutputRefused(KafkaRefused):
    """Kafka refuses what was to be written to some partitions. ``why``: the sentence for each."""

    def __init__(self, why: Mapping[int, str]) -> None:
        super().__init__("; ".join(why.values()))
        self.why = why


class StageStopped(LockstreamError):
    """A partition can't go on without breaking a promise, and stays stopped."""


class PartitionsChanged(StageStopped):
    """A topic has another number of partitions than the installation."""


class LanesChanged(StageStopped):
    """The installation works with another number of lanes than this process."""


class PositionLost(StageStopped):
    """Retention has deleted records that were not processed yet."""


class StreamViolation(StageStopped):
    """The log or the read model is not what its rules say."""


class CommandRefused(LockstreamError):
    """The caller's request is at fault, and gets a 4xx answer."""
