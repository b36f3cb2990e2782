"""The error tree. An error's type decides the fate of the record or request it stopped.

LockstreamError
├── ConfigurationError       a setting or an argument is missing or bad: say so, exit 2
├── Unavailable              it may work later: retry, or 503 with Retry-After
│   ├── KafkaUnavailable     the broker can't be reached or can't take this now
│   ├── OutcomeUnknown       it was sent, but no answer came: it may or may not be recorded
│   ├── OutputUncertain      a transaction went wrong: throw the producer away, fence, restore
│   ├── ReadModelUnavailable the database can't be reached, or is behind what was asked for
│   ├── IssuerUnavailable    the keys that a token must be checked against can't be had
│   └── BrokerUnavailable    the local broker can't be fetched or started
├── KafkaRefused             Kafka refuses for good (rights, names, sizes, versions): say it, stop
├── StageStopped             going on would break a promise: stop, loudly, until someone looks
│   ├── PartitionsChanged    a topic's partition count is not the installation's
│   ├── PositionLost         retention has deleted records that were not yet processed
│   └── StreamViolation      the log or the read model is not what its rules say
└── CommandRefused           the caller's fault: 4xx (drawn in command_api/errors.py)
"""


class LockstreamError(Exception):
    """The root. Its text is one sentence for a person."""


class ConfigurationError(LockstreamError):
    pass


class Unavailable(LockstreamError):
    pass


class KafkaUnavailable(Unavailable):
    pass


class OutcomeUnknown(Unavailable):
    pass


class OutputUncertain(Unavailable):
    pass


class ReadModelUnavailable(Unavailable):
    pass


class IssuerUnavailable(Unavailable):
    pass


class BrokerUnavailable(Unavailable):
    pass


class KafkaRefused(LockstreamError):
    pass


class StageStopped(LockstreamError):
    pass


class PartitionsChanged(StageStopped):
    pass


class PositionLost(StageStopped):
    pass


class StreamViolation(StageStopped):
    pass


class CommandRefused(LockstreamError):
    pass
