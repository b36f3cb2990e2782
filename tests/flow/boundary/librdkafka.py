"""Attempts of a partner that uses librdkafka."""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from tests.flow.boundary.place import ALLOWED, REFUSED, Login, Victims

WAIT_S = 10.0
REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}

Attempt = Callable[[], object]


def attempts(login: Login, victims: Victims) -> Mapping[str, Attempt]:
    """Each raises ``KafkaException`` where it is refused."""
    return {
        **_reading(login, victims),
        **_writing(login, victims),
        **_asking(login, victims),
        **_changing(login, victims),
        **_groups(login, victims),
    }


def outcome(attempt: Attempt) -> str:
    try:
        attempt()
    except KafkaException as error:
        found = error.args[0]
        return REFUSED if found.code() in REFUSALS else f"{found.name()}: {found.str()}"
    return ALLOWED


# -- reading ---------------------------------------------------------------------------------------


def consume(login: Login, topic: str, group: str | None = None) -> bytes | None:
    """Reads one record, without a group or in this one."""
    consumer = Consumer(
        {
            **login.librdkafka,
            "group.id": group or f"{login.group}.unused",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        if group is None:
            consumer.assign([TopicPartition(topic, number, 0) for number in range(3)])
        else:
            consumer.subscribe([topic])
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is not None:
                raise KafkaException(message.error())
            if message is not None:
                value: bytes | None = message.value()
                return value
        return None
    finally:
        consumer.close()


def _reading(login: Login, victims: Victims) -> dict[str, Attempt]:
    topics = (victims.topic, *victims.internal_topics)
    mine = f"{login.group}.thief"
    return {
        f"read {topic}": lambda topic=topic: consume(login, topic, mine) for topic in topics
    } | {"read as a member of another's group": lambda: consume(login, victims.own, victims.group)}


# -- writing ---------------------------------------------------------------------------------------


def _writing(login: Login, victims: Victims) -> dict[str, Attempt]:
    def produce(topic: str) -> None:
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failed.append(error)

        producer = Producer({**login.librdkafka, "message.timeout.ms": int(WAIT_S * 1000)})
        producer.produce(topic, b"{}", partition=0, on_delivery=delivered)
        producer.flush(WAIT_S)
        if failed:
            raise KafkaException(failed[0])

    def transaction(name: str) -> None:
        producer = Producer({**login.librdkafka, "transactional.id": name})
        producer.init_transactions(WAIT_S)
        producer.begin_transaction()
        producer.produce(victims.own, b"{}", partition=0)
        producer.commit_transaction(WAIT_S)

    topics = (victims.own, victims.topic, *victims.internal_topics[:4])
    return {f"write to {topic}": lambda topic=topic: produce(topic) for topic in topics} | {
        "begin a transaction": lambda: transaction(f"mine-{uuid.uuid4()}"),
    }


# -- asking ----------------------------------------------------------------------------------------


def _only(found: Iterable[str], allowed: str) -> None:
    """Raises if names other than the own topic's are shown: to see others' is what is tried."""
    if set(found) <= {allowed}:
        raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))


def _asking(login: Login, victims: Victims) -> dict[str, Attempt]:
    admin = AdminClient(login.librdkafka)

    def configs(kind: ResourceType, name: str) -> None:
        for future in admin.describe_configs([ConfigResource(kind, name)]).values():
            future.result(WAIT_S)

    def topic_known(topic: str) -> None:
        error = admin.list_topics(topic, WAIT_S).topics[topic].error
        if error is not None:
            raise KafkaException(error)

    def groups_known() -> None:
        listed = admin.list_consumer_groups(request_timeout=WAIT_S).result(WAIT_S)
        names = {one.group_id for one in listed.valid}
        _only((name for name in names if not name.startswith(login.group)), "")

    topics = (victims.topic, *victims.internal_topics[:4])
    return {
        f"see that {topic} exists": lambda topic=topic: topic_known(topic) for topic in topics
    } | {
        "list all topics": lambda: _only(admin.list_topics(timeout=WAIT_S).topics, victims.own),
        "list others' groups": groups_known,
        "read another's settings": lambda: configs(ResourceType.TOPIC, victims.topic),
        "read the broker's settings": lambda: configs(ResourceType.BROKER, "1"),
    }


# -- changing --------------------------------------------------------------------------------------


def _changing(login: Login, victims: Victims) -> dict[str, Attempt]:
    admin = AdminClient(login.librdkafka)

    def all_of(futures: Mapping[object, object]) -> None:
        for future in futures.values():
            future.result(WAIT_S)  # type: ignore[attr-defined]

    def set_config(kind: ResourceType, resource: str, name: str, value: str) -> None:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        change = ConfigResource(kind, resource, incremental_configs=[entry])
        all_of(admin.incremental_alter_configs([change]))

    def allow_me() -> None:
        rule = AclBinding(
            ResourceType.TOPIC,
            victims.topic,
            ResourcePatternType.LITERAL,
            f"User:{login.user}",
            "*",
            AclOperation.READ,
            AclPermissionType.ALLOW,
        )
        all_of(admin.create_acls([rule]))

    def forbid_others() -> None:
        rules = AclBindingFilter(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            "User:nobody",
            None,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        all_of(admin.delete_acls([rules]))

    def change_user(change: UserScramCredentialUpsertion | UserScramCredentialDeletion) -> None:
        all_of(admin.alter_user_scram_credentials([change]))

    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    fresh = f"{victims.own}.replay.made-by-{uuid.uuid4().hex[:8]}"
    return {
        "create a topic": lambda: all_of(admin.create_topics([NewTopic(fresh, 1, 1)])),
        "add partitions": lambda: all_of(admin.create_partitions([NewPartitions(victims.own, 30)])),
        "delete records of its own": lambda: all_of(
            admin.delete_records([TopicPartition(victims.own, 0, 1)])
        ),
        "change its own topic": lambda: set_config(
            ResourceType.TOPIC, victims.own, "retention.ms", "1000"
        ),
        "change another's topic": lambda: set_config(
            ResourceType.TOPIC, victims.topic, "retention.ms", "1000"
        ),
        "change the broker": lambda: set_config(
            ResourceType.BROKER, "1", "log.cleaner.threads", "1"
        ),
        "allow itself more": allow_me,
        "take rules away": forbid_others,
        "make a user": lambda: change_user(
            UserScramCredentialUpsertion(f"u{uuid.uuid4().hex[:8]}", info, b"secret")
        ),
        "change another's password": lambda: change_user(
            UserScramCredentialUpsertion("victim", info, b"secret")
        ),
        "take another's password": lambda: change_user(
            UserScramCredentialDeletion("victim", ScramMechanism.SCRAM_SHA_512)
        ),
        "delete its own topic": lambda: all_of(admin.delete_topics([victims.own])),
        "delete another's topic": lambda: all_of(admin.delete_topics([victims.topic])),
    }


# -- groups ----------------------------------------------------------------------------------------


def _groups(login: Login, victims: Victims) -> dict[str, Attempt]:
    admin = AdminClient(login.librdkafka)

    def describe(group: str) -> None:
        for future in admin.describe_consumer_groups([group]).values():
            future.result(WAIT_S)

    def offsets(group: str) -> None:
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        for future in asked.values():
            future.result(WAIT_S)

    def move(group: str) -> None:
        to = ConsumerGroupTopicPartitions(group, [TopicPartition(victims.own, 0, 0)])
        for future in admin.alter_consumer_group_offsets([to]).values():
            found = future.result(WAIT_S)
            for place in found.topic_partitions:
                if place.error is not None:
                    raise KafkaException(place.error)

    def delete(group: str) -> None:
        for future in admin.delete_consumer_groups([group]).values():
            future.result(WAIT_S)

    mine: dict[str, Attempt] = {}
    for group in (victims.group, *victims.internal_groups):
        mine[f"describe group {group}"] = partial(describe, group)
        mine[f"read the offsets of {group}"] = partial(offsets, group)
    mine[f"move the offsets of {victims.group}"] = lambda: move(victims.group)
    mine[f"delete group {victims.group}"] = lambda: delete(victims.group)
    return mine
