"""Manages users with passwords (KIP-554) and access rules (KIP-140) through confluent-kafka,
since aiokafka has no such requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from eventlog.acls import Acl
from eventlog.kafka_errors import error_of, ours
from runtime.errors import KafkaRefused, KafkaUnavailable
from runtime.settings import Settings
from runtime.waiting import within

REQUEST_S = 10.0
KNOWN_S = 10.0
KNOWN_PAUSE_S = 0.02
ITERATIONS = 8192
"""RFC 7677 asks for 4,096 at least; a password of ours has 256 bits and needs no more."""
NO_SUCH_USER = 91
"""RESOURCE_NOT_FOUND."""

K = TypeVar("K")
V = TypeVar("V")

_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,  # librdkafka's name for the cluster
}
_OPERATIONS = {
    "read": AclOperation.READ,
    "write": AclOperation.WRITE,
    "create": AclOperation.CREATE,
    "delete": AclOperation.DELETE,
    "alter": AclOperation.ALTER,
    "describe": AclOperation.DESCRIBE,
    "describe-configs": AclOperation.DESCRIBE_CONFIGS,
    "alter-configs": AclOperation.ALTER_CONFIGS,
}


class AccessAdmin:
    """Changes who may log in, and who may do what. A context manager opens and closes it. Every
    method raises ``KafkaUnavailable`` if the cluster can't be reached in time, and ``KafkaRefused``
    if we may not, or if it has no authorizer."""

    def __init__(self, settings: Settings) -> None:
        self._options = _options(settings)
        self._admin: AdminClient | None = None

    async def __aenter__(self) -> Self:
        with _errors("connecting to Kafka"):
            self._admin = await asyncio.to_thread(AdminClient, self._options)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._admin = None

    @property
    def _client(self) -> AdminClient:
        assert self._admin is not None, "it is not open"
        return self._admin

    # -- users -------------------------------------------------------------------------------------

    async def users(self) -> set[str]:
        """Returns the names of all users that have a password of SCRAM."""
        with _errors("asking for the users"):
            asked = self._client.describe_user_scram_credentials(request_timeout=REQUEST_S)
            assert isinstance(asked, Future)
            return set(await within(asyncio.wrap_future(asked), REQUEST_S))

    async def set_password(self, user: str, password: str) -> None:
        """Makes a user, or gives it another password; returns when it can log in."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        change = UserScramCredentialUpsertion(user, info, password.encode())
        with _errors(f"making the user {user}"):
            await _all(
                self._client.alter_user_scram_credentials([change], request_timeout=REQUEST_S)
            )
        await _until(self.users, lambda users: user in users, f"the user {user} is not known yet")

    async def remove_user(self, user: str) -> None:
        """Takes a user's password away; one that has none is no error."""
        change = UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_512)
        with _errors(f"removing the user {user}"):
            try:
                await _all(
                    self._client.alter_user_scram_credentials([change], request_timeout=REQUEST_S)
                )
            except KafkaException as error:
                if error.args[0].code() != NO_SUCH_USER:
                    raise

    # -- rules -------------------------------------------------------------------------------------

    async def acls(self, principal: str | None = None) -> set[Acl]:
        """Returns the rules that allow this principal, or anybody, something. Rules of kinds that
        we never make are left out."""
        with _errors("asking for the access rules"):
            found = self._client.describe_acls(_matching(principal), request_timeout=REQUEST_S)
            bindings = await within(asyncio.wrap_future(found), REQUEST_S)
        return {acl for acl in map(_acl_of, bindings) if acl is not None}

    async def allow(self, acls: Sequence[Acl]) -> None:
        """Adds rules; returns when they hold. One that is there already is no error."""
        if not acls:
            return
        with _errors("adding access rules"):
            await _all(
                self._client.create_acls([_binding(acl) for acl in acls], request_timeout=REQUEST_S)
            )
        await _until(self.acls, set(acls).issubset, "the access rules do not hold yet")

    async def allow_nothing(self, principals: Iterable[str]) -> None:
        """Removes every rule that allows one of these principals something."""
        filters = [_matching(principal) for principal in principals]
        if not filters:
            return
        with _errors("removing access rules"):
            await _all(self._client.delete_acls(filters, request_timeout=REQUEST_S))


def _options(settings: Settings) -> dict[str, str | int]:
    options: dict[str, str | int] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": "lockstream-cli",
        "security.protocol": settings.kafka_security_protocol,
        "log_level": 0,  # its errors say enough
    }
    if "SSL" in settings.kafka_security_protocol:
        # "probe": else the library looks where the machine that it was built on had them.
        options["ssl.ca.location"] = settings.kafka_ssl_cafile or "probe"
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl.mechanism"] = settings.kafka_sasl_mechanism
        options["sasl.username"] = settings.kafka_sasl_username
        options["sasl.password"] = settings.kafka_sasl_password
    return options


def _matching(principal: str | None) -> AclBindingFilter:
    return AclBindingFilter(
        ResourceType.ANY,
        None,
        ResourcePatternType.ANY,
        principal,
        None,
        AclOperation.ANY,
        AclPermissionType.ANY if principal is not None else AclPermissionType.ALLOW,
    )


def _binding(acl: Acl) -> AclBinding:
    return AclBinding(
        _RESOURCES[acl.resource],
        acl.name,
        ResourcePatternType.PREFIXED if acl.prefixed else ResourcePatternType.LITERAL,
        acl.principal,
        "*",
        _OPERATIONS[acl.operation],
        AclPermissionType.ALLOW,
    )


def _acl_of(binding: Any) -> Acl | None:
    resources = {theirs: ours for ours, theirs in _RESOURCES.items()}
    operations = {theirs: ours for ours, theirs in _OPERATIONS.items()}
    resource, operation = resources.get(binding.restype), operations.get(binding.operation)
    if resource is None or operation is None:
        return None
    if binding.permission_type != AclPermissionType.ALLOW or binding.host != "*":
        return None
    prefixed = binding.resource_pattern_type == ResourcePatternType.PREFIXED
    return msgspec.convert((binding.principal, resource, binding.name, operation, prefixed), Acl)


async def _all(futures: Mapping[K, "Future[V]"]) -> None:
    """Waits for all of them; raises what the first one raised that failed."""
    waiting = asyncio.gather(*map(asyncio.wrap_future, futures.values()), return_exceptions=True)
    for one in await within(waiting, REQUEST_S):
        if isinstance(one, BaseException):
            raise one


async def _until(ask: Callable[[], Awaitable[V]], holds: Callable[[V], bool], why: str) -> None:
    """Waits until the broker that answers us has heard of a change that its controller has made.

    Raises:
        KafkaUnavailable: it has not in time.
    """
    deadline = time.monotonic() + KNOWN_S
    while not holds(await ask()):
        if time.monotonic() > deadline:
            raise KafkaUnavailable(f"{why}; try again")
        await asyncio.sleep(KNOWN_PAUSE_S)


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    """Turns confluent-kafka's errors and time-outs into ours, saying what was tried.

    Raises:
        KafkaRefused: no repetition mends it.
        KafkaUnavailable: it may work later.
    """
    try:
        yield
    except TimeoutError as error:
        raise KafkaUnavailable(f"{doing}: no answer within {REQUEST_S:.0f} s") from error
    except KafkaException as error:
        found = error.args[0]
        if found.code() > 0:
            raise ours(error_of(found.code(), found.str()), doing) from error
        # Codes below zero are the library's own.
        if found.name() in ("_AUTHENTICATION", "_SSL"):
            raise KafkaRefused(
                f"{doing}: {found.str()}; check KAFKA_SASL_… and KAFKA_SSL_CAFILE"
            ) from error
        raise KafkaUnavailable(f"{doing}: {found.str()}") from error
