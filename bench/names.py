"""Names the measurements, which the report asks for."""

LOCKSTREAM = "Lockstream"
UNVERSIONED = "Lockstream's endpoint alone, answers 202"
BARE = "Starlette, answers {}"
PUBLISH_ONLY = "Starlette + aiokafka"

CLOSED = "commands, closed loop"
OPEN = "commands, open loop"
COLD = "commands, cold"
DISTRIBUTED = "commands, by distribution of locks"
PARTITIONS = "commands, by number of partitions"
CORES = "commands, by number of cores"

DRAIN = "projector, backlog"
FANOUT = "fan-out, backlog"
READERS = "readers of the stream"
TRANSACTIONS = "transactions of one record, bare aiokafka"

WHOLE_PATH = "command to partner's record"

EVENTS_GROWTH = "growth: events in the stream"
LOCKS_GROWTH = "growth: locks"
PARTNERS_GROWTH = "growth: partners"
PARTITIONS_GROWTH = "growth: partitions"
REPLICAS_GROWTH = "growth: replicas of each role"
BIG_EVENTS_GROWTH = "growth: events in the stream, to ten million"
BIG_LOCKS_GROWTH = "growth: locks, to a million"
GROWTHS = (
    EVENTS_GROWTH,
    LOCKS_GROWTH,
    PARTNERS_GROWTH,
    PARTITIONS_GROWTH,
    REPLICAS_GROWTH,
    BIG_EVENTS_GROWTH,
    BIG_LOCKS_GROWTH,
)

BUDGET = "latency budget"
PROFILE = "profile"
