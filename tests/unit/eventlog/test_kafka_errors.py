"""Every error that the Kafka client can raise is ours by one table."""

import inspect

import pytest
from aiokafka import errors
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    NotLeaderForPartitionError,
    ProducerFenced,
)

from eventlog.kafka_errors import MAY_MEND, REFUSED, error_of, kafka_errors, ours
from runtime.errors import KafkaRefused, KafkaUnavailable

CLASSES = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: str(kind.__name__))
def test_every_error_of_the_client_has_one_place_in_the_table(kind: type[Exception]) -> None:
    """One that a new version brings fails here, until somebody has thought about it."""
    places = [getattr(kind, "retriable", False), kind in REFUSED, kind in MAY_MEND]
    assert places.count(True) == 1, f"{kind.__name__}: retriable, refused, may mend: {places}"


def test_what_no_repetition_mends_is_a_refusal_that_says_what_to_do() -> None:
    said = r"fencing x: .*GroupAuthorizationFailedError: g; grant"
    with pytest.raises(KafkaRefused, match=said), kafka_errors("fencing x"):
        raise GroupAuthorizationFailedError("g")
    for error in (NotLeaderForPartitionError(), ProducerFenced(), TimeoutError()):
        with pytest.raises(KafkaUnavailable), kafka_errors("doing"):
            raise error


def test_a_refusal_is_found_below_what_the_client_wraps_it_in() -> None:
    wrapped = KafkaError("Unexpected error during coordination")
    wrapped.__cause__ = InvalidTopicError()
    assert isinstance(ours(wrapped, "doing"), KafkaRefused)


def test_codes_that_the_client_does_not_know_keep_their_number() -> None:
    assert isinstance(error_of(17), InvalidTopicError)
    assert isinstance(ours(error_of(87, "no key"), "doing"), KafkaRefused)
    unknown = ours(error_of(9999), "doing")
    assert isinstance(unknown, KafkaUnavailable)
    assert "9999" in str(unknown)
