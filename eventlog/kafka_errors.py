"""One table says which of Kafka's errors may pass by themselves, and which no repetition mends.

aiokafka says of each of its errors whether it is ``retriable``; what it is silent about is named
here. A test fails for a class that a new version brings and that is named nowhere.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from aiokafka import errors as errors
from aiokafka import errors as kafka
from aiokafka.errors import KafkaError as KafkaError
from aiokafka.errors import for_code

from runtime.errors import KafkaRefused, KafkaUnavailable

_ACL = "grant this service's user that access by an ACL"
_LOGIN = "check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM"
_VERSION = "the cluster and this version of Lockstream do not fit"
_SIZE = "raise the topic's max.message.bytes, or find who writes so much"
_NAME = "check LOCKSTREAM_TOPIC_PREFIX and the name"
_POLICY = "the cluster's policy or settings forbid it"
_OURS = "this is a defect of ours or a foreign server"

REFUSED: Mapping[type[Exception], str] = {
    kafka.AuthenticationFailedError: _LOGIN,
    kafka.AuthenticationMethodNotSupported: _LOGIN,
    kafka.SaslAuthenticationFailed: _LOGIN,
    kafka.UnsupportedSaslMechanismError: _LOGIN,
    kafka.IllegalSaslStateError: "check KAFKA_SECURITY_PROTOCOL and KAFKA_SASL_MECHANISM",
    kafka.SecurityDisabled: "the cluster has no authorizer, so anybody who reaches it may do "
    "anything; set authorizer.class.name on its brokers",
    kafka.ClusterAuthorizationFailedError: _ACL,
    kafka.GroupAuthorizationFailedError: _ACL,
    kafka.TopicAuthorizationFailedError: _ACL,
    kafka.TransactionalIdAuthorizationFailed: _ACL,
    kafka.DelegationTokenAuthDisabled: _LOGIN,
    kafka.DelegationTokenAuthorizationFailed: _LOGIN,
    kafka.DelegationTokenExpired: _LOGIN,
    kafka.DelegationTokenNotFound: _LOGIN,
    kafka.DelegationTokenOwnerMismatch: _LOGIN,
    kafka.DelegationTokenRequestNotAllowed: _LOGIN,
    kafka.InvalidPrincipalType: _LOGIN,
    kafka.InvalidTopicError: _NAME,
    kafka.InvalidGroupIdError: _NAME,
    kafka.InvalidPartitionsError: "check LOCKSTREAM_PARTITIONS",
    kafka.InvalidReplicationAssignmentError: "check LOCKSTREAM_REPLICATION_FACTOR",
    kafka.InvalidConfigurationError: _POLICY,
    kafka.PolicyViolationError: _POLICY,
    kafka.MessageSizeTooLargeError: _SIZE,
    kafka.RecordListTooLargeError: _SIZE,
    kafka.RecordTooLargeError: _SIZE,
    kafka.InvalidCommitOffsetSizeError: _SIZE,
    kafka.OffsetMetadataTooLargeError: _SIZE,
    kafka.InvalidTimestampError: "check the topic's message.timestamp settings and this clock",
    kafka.InvalidSessionTimeoutError: "check LOCKSTREAM_SESSION_TIMEOUT",
    kafka.InvalidTransactionTimeout: "raise the cluster's transaction.max.timeout.ms to 10 s",
    kafka.InvalidRequiredAcksError: _VERSION,
    kafka.InconsistentGroupProtocolError: "another program is in this consumer group",
    kafka.UnsupportedVersionError: _VERSION,
    kafka.UnsupportedForMessageFormatError: _VERSION,
    kafka.UnsupportedCodecError: _VERSION,
    kafka.IncompatibleBrokerVersion: _VERSION,
    kafka.UnrecognizedBrokerVersion: _VERSION,
    kafka.InvalidRequestError: _OURS,
    kafka.IllegalArgumentError: _OURS,
    kafka.KafkaConfigurationError: "check the KAFKA_… settings",
}
"""What no repetition mends, each with what to do about it."""

MAY_MEND: frozenset[type[Exception]] = frozenset(
    {
        # Somebody else's turn, or an epoch that is over: fence and restore.
        kafka.CommitFailedError,
        kafka.ConcurrentTransactions,
        kafka.DuplicateSequenceNumber,
        kafka.IllegalGenerationError,
        kafka.InvalidProducerEpoch,
        kafka.InvalidProducerIdMapping,
        kafka.InvalidTxnState,
        kafka.MemberIdRequired,
        kafka.OutOfOrderSequenceNumber,
        kafka.ProducerClosed,
        kafka.ProducerFenced,
        kafka.RebalanceInProgressError,
        kafka.TransactionCoordinatorFenced,
        kafka.UnknownMemberIdError,
        kafka.UnknownProducerId,
        # The cluster is on the move; more brokers may be about to join.
        kafka.BrokerNotAvailableError,
        kafka.InvalidReplicationFactorError,
        kafka.ListenerNotFound,
        kafka.LogDirNotFound,
        kafka.ReassignmentInProgress,
        kafka.ReplicaNotAvailableError,
        kafka.StaleControllerEpochError,
        kafka.StaleLeaderEpochCodeError,
        # The next fetch is another one.
        kafka.CorruptRecordException,
        kafka.FetchSessionIdNotFound,
        kafka.InvalidFetchRequestError,
        kafka.InvalidFetchSessionEpoch,
        kafka.InvalidMessageError,
        kafka.NoOffsetForPartitionError,
        kafka.OffsetOutOfRangeError,
        # Time passes, others leave.
        kafka.GroupIdNotFound,
        kafka.KafkaTimeoutError,
        kafka.KafkaUnavailableError,
        kafka.NonEmptyGroup,
        kafka.OperationNotAttempted,
        kafka.QuotaViolationError,
        kafka.TopicAlreadyExistsError,
        # Says too little to be believed, so it is tried again.
        kafka.BrokerResponseError,
        kafka.IllegalStateError,
        kafka.KafkaError,
        kafka.NoError,
        kafka.UnknownError,
        # aiokafka's, outside its own tree.
        kafka.ConsumerStoppedError,
        kafka.IllegalOperation,
    }
)
"""What is not ``retriable`` as it stands, but may go better next time."""

REFUSED_CODES: Mapping[int, tuple[str, str]] = {
    76: ("UNSUPPORTED_COMPRESSION_TYPE", _VERSION),
    85: ("TOPIC_DELETION_DISABLED", _POLICY),
    87: ("INVALID_RECORD", _POLICY),
}
"""Refusals among the codes that aiokafka does not know."""

KAFKA_ERRORS = (KafkaError, kafka.ConsumerStoppedError, kafka.IllegalOperation)


class UnlistedCode(KafkaError):
    """Stands for a broker's answer that aiokafka has no class for."""

    def __init__(self, code: int, message: str = "") -> None:
        name = REFUSED_CODES[code][0] if code in REFUSED_CODES else f"error {code}"
        super().__init__(f"{name}: {message}" if message else name)
        self.code = code


def error_of(code: int, message: str | None = None) -> KafkaError:
    """Returns the error that a broker's code stands for, with what the broker says about it."""
    kind: type[KafkaError] = for_code(code)
    if kind is kafka.UnknownError and code != kafka.UnknownError.errno:
        return UnlistedCode(code, message or "")
    return kind(message) if message else kind()


def advice(error: BaseException) -> str | None:
    """Returns what to do about an error that does not pass by itself; None about one that may."""
    if isinstance(error, UnlistedCode):
        return REFUSED_CODES[error.code][1] if error.code in REFUSED_CODES else None
    return next((REFUSED[kind] for kind in type(error).__mro__ if kind in REFUSED), None)


def ours(error: BaseException, doing: str) -> KafkaRefused | KafkaUnavailable:
    """Returns our error for one of Kafka's. ``doing``: what was tried."""
    cause: BaseException | None = error
    # aiokafka wraps some in a bare KafkaError, which says nothing of its own.
    while cause is not None:
        if (what_to_do := advice(cause)) is not None:
            return KafkaRefused(f"{doing}: Kafka refuses: {_said(cause)}; {what_to_do}")
        cause = cause.__cause__
    return KafkaUnavailable(f"{doing}: {_said(error)}")


def _said(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, UnlistedCode):
        return str(error)
    said = ", ".join(str(part) for part in error.args if part)
    return f"{name}: {said}" if said else name


@contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Turns aiokafka's errors and time-outs into ours, saying what was tried.

    Raises:
        KafkaRefused: no repetition mends it.
        KafkaUnavailable: it may work later.
    """
    try:
        yield
    except KAFKA_ERRORS as error:
        raise ours(error, doing) from error
    except TimeoutError as error:
        raise KafkaUnavailable(f"{doing}: no answer in time") from error
