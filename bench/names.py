"""Names the measurements, which the report asks for."""

LOCKSTREAM = "Lockstream"
UNVERSIONED = "Lockstream's endpoint alone, answers 202"
PUBLISH_ONLY = "Starlette + aiokafka"
POSTGRES = "Starlette + PostgreSQL"
SYSTEMS = (
    LOCKSTREAM,
    UNVERSIONED,
    PUBLISH_ONLY,
    "FastAPI + aiokafka",
    "FastStream",
    POSTGRES,
)
"""All that take commands in the bench."""

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
REPLICAS_GROWTH = "growth: replicas of each role"
BIG_EVENTS_GROWTH = "growth: events in the stream, to ten million"
BIG_LOCKS_GROWTH = "growth: locks, to a million"
GROWTHS = (
    EVENTS_GROWTH,
    LOCKS_GROWTH,
    PARTNERS_GROWTH,
    REPLICAS_GROWTH,
    BIG_EVENTS_GROWTH,
    BIG_LOCKS_GROWTH,
)

ROLES = ("api", "projector", "fanout")
BACKLOG = "projector backlog"
BEFORE, AFTER = "before", "after"
COMMAND_TURNS = "before and after: CPU of a command"
BACKLOG_TURNS = "before and after: events for a second of CPU"

BUDGET = "latency budget"
PROFILE = "profile"
