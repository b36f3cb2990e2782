"""Holds the requests of Kafka's protocol about users, their quotas, and access rules.

Bodies follow Apache Kafka's ``DescribeAclsRequest.json`` (version 1), ``CreateAclsRequest.json``
(1), ``DeleteAclsRequest.json`` (1), ``DescribeUserScramCredentialsRequest.json`` (0),
``AlterUserScramCredentialsRequest.json`` (0) and ``AlterClientQuotasRequest.json`` (0). aiokafka
has none of them. librdkafka takes a refused look at the rules for an empty one, and aborts the
process where a look at the users is refused (2.16).
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from io import BytesIO

from aiokafka.protocol.api import Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)

from eventlog.acls import Acl, Operation, Resource
from eventlog.kafka_requests import NO_TAGS, Request, compact, compact_length

_TEXT = String("utf-8")
_NAME = CompactString("utf-8")
_RESOURCES: Mapping[Resource, int] = {"topic": 2, "group": 3, "cluster": 4, "transactional-id": 5}
_OPERATIONS: Mapping[Operation, int] = {
    "read": 3,
    "write": 4,
    "create": 5,
    "delete": 6,
    "alter": 7,
    "describe": 8,
    "describe-configs": 10,
    "alter-configs": 11,
}
_ANY, _LITERAL, _PREFIXED, _ALLOW = 1, 3, 4, 3
_ANY_HOST = "*"
_SCRAM_SHA_512 = 2
ITERATIONS = 8192
"""RFC 7677 asks for 4,096 at least; a password of ours has 256 bits and needs no more."""
_float64 = struct.Struct(">d")

_RULE = (("resource", Int8), ("name", _TEXT), ("pattern", Int8), ("principal", _TEXT))
_WHAT = (("host", _TEXT), ("operation", Int8), ("permission", Int8))
_FILTER = Schema(*_RULE, *_WHAT)
_RULES = Array(*_RULE, *_WHAT)


# -- access rules ----------------------------------------------------------------------------------


class Acls(Response):  # type: ignore[misc]
    """Answers ``AskAcls``. ``resources``: kind, name, pattern, and of each rule the principal,
    host, operation and permission."""

    error_code: int
    text: str | None
    resources: list[tuple[int, str, int, list[tuple[str, str, int, int]]]]

    API_KEY = 29
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("text", _TEXT),
        (
            "resources",
            Array(
                ("kind", Int8),
                ("name", _TEXT),
                ("pattern", Int8),
                ("acls", Array(("principal", _TEXT), *_WHAT)),
            ),
        ),
    )

    def rules(self) -> set[Acl]:
        """Returns the rules that allow something from any host; others are none of ours."""
        resources = {number: name for name, number in _RESOURCES.items()}
        operations = {number: name for name, number in _OPERATIONS.items()}
        return {
            Acl(principal, resources[kind], name, operations[operation], pattern == _PREFIXED)
            for kind, name, pattern, acls in self.resources
            for principal, host, operation, permission in acls
            if (host, permission) == (_ANY_HOST, _ALLOW)
            and kind in resources
            and operation in operations
        }


class AskAcls(Request[Acls]):
    """Asks for the rules of one principal, or of all (KIP-140)."""

    FLEXIBLE_VERSION = False
    API_KEY = 29
    API_VERSION = 1
    RESPONSE_TYPE = Acls

    def __init__(self, principal: str | None) -> None:
        super().__init__(_FILTER.encode(_every_rule_of(principal)))


class AclsChanged(Response):  # type: ignore[misc]
    """Answers ``CreateAcls``. ``results``: code and text of each."""

    results: list[tuple[int, str | None]]

    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32), ("results", Array(("error", Int16), ("text", _TEXT)))
    )


class CreateAcls(Request[AclsChanged]):
    """Adds rules (KIP-140)."""

    FLEXIBLE_VERSION = False
    API_KEY = 30
    API_VERSION = 1
    RESPONSE_TYPE = AclsChanged

    def __init__(self, acls: Sequence[Acl]) -> None:
        super().__init__(
            _RULES.encode(
                [
                    (
                        _RESOURCES[acl.resource],
                        acl.name,
                        _PREFIXED if acl.prefixed else _LITERAL,
                        acl.principal,
                        _ANY_HOST,
                        _OPERATIONS[acl.operation],
                        _ALLOW,
                    )
                    for acl in acls
                ]
            )
        )


class AclsDeleted(Response):  # type: ignore[misc]
    """Answers ``DeleteAcls``. ``results``: code and text of each filter; what it has deleted."""

    results: list[tuple[int, str | None, list[object]]]

    API_KEY = 31
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error", Int16),
                ("text", _TEXT),
                ("deleted", Array(("error", Int16), ("text", _TEXT), *_RULE, *_WHAT)),
            ),
        ),
    )


class DeleteAcls(Request[AclsDeleted]):
    """Removes every rule of these principals (KIP-140)."""

    FLEXIBLE_VERSION = False
    API_KEY = 31
    API_VERSION = 1
    RESPONSE_TYPE = AclsDeleted

    def __init__(self, principals: Sequence[str]) -> None:
        super().__init__(_RULES.encode([_every_rule_of(one) for one in principals]))


def _every_rule_of(principal: str | None) -> tuple[int, None, int, str | None, None, int, int]:
    return (_ANY, None, _ANY, principal, None, _ANY, _ANY)


# -- users -----------------------------------------------------------------------------------------

_INFOS = CompactArray(("mechanism", Int8), ("iterations", Int32), ("tags", TaggedFields))
_DESCRIBED = CompactArray(
    ("user", _NAME), ("error", Int16), ("text", _NAME), ("infos", _INFOS), ("tags", TaggedFields)
)
_ALTERED = CompactArray(("user", _NAME), ("error", Int16), ("text", _NAME), ("tags", TaggedFields))


class Users(Response):  # type: ignore[misc]
    """Answers ``AskUsers``. ``users``: those that have a password."""

    error_code: int
    text: str | None
    users: set[str]

    API_KEY = 50
    API_VERSION = 0
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "Users":
        answer = cls()
        Int32.decode(data)  # how long we were throttled
        answer.error_code = Int16.decode(data)
        answer.text = _NAME.decode(data)
        described = _DESCRIBED.decode(data) or ()
        answer.users = {user for user, _, _, infos, _ in described if infos}
        return answer


class AskUsers(Request[Users]):
    """Asks which of these users have a password (KIP-554). Kafka 4.1 has no answer for whoever may
    not ask for all, so they are named."""

    API_KEY = 50
    API_VERSION = 0
    RESPONSE_TYPE = Users

    def __init__(self, users: Sequence[str]) -> None:
        named = b"".join(_NAME.encode(user) + NO_TAGS for user in users)
        super().__init__(compact_length(len(users)) + named + NO_TAGS)


class UsersAltered(Response):  # type: ignore[misc]
    """Answers ``AlterUsers``. ``results``: name, code and text of each."""

    results: list[tuple[str, int, str | None]]

    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "UsersAltered":
        answer = cls()
        Int32.decode(data)  # how long we were throttled
        answer.results = [(user, code, text) for user, code, text, _ in _ALTERED.decode(data) or ()]
        return answer


class AlterUsers(Request[UsersAltered]):
    """Gives users a password of SCRAM-SHA-512, or takes it away (KIP-554). The password itself is
    not sent: what is sent proves only that somebody knows it (RFC 5802, section 3)."""

    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = UsersAltered

    def __init__(
        self, passwords: Mapping[str, str], salt: bytes, removed: Sequence[str] = ()
    ) -> None:
        deletions = b"".join(_NAME.encode(user) + _mechanism() + NO_TAGS for user in removed)
        upsertions = b"".join(
            _NAME.encode(user)
            + _mechanism()
            + Int32.encode(ITERATIONS)
            + compact(salt)
            + compact(hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS))
            + NO_TAGS
            for user, password in passwords.items()
        )
        super().__init__(
            compact_length(len(removed))
            + deletions
            + compact_length(len(passwords))
            + upsertions
            + NO_TAGS
        )


def _mechanism() -> bytes:
    return bytes([_SCRAM_SHA_512])


# -- quotas ----------------------------------------------------------------------------------------


class QuotaAltered(Response):  # type: ignore[misc]
    """Answers ``AlterQuota``. ``entries``: code, text and entity of each."""

    entries: list[tuple[int, str | None, list[tuple[str, str | None]]]]

    API_KEY = 49
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "entries",
            Array(
                ("error", Int16),
                ("text", _TEXT),
                ("entity", Array(("kind", _TEXT), ("name", _TEXT))),
            ),
        ),
    )


class AlterQuota(Request[QuotaAltered]):
    """Sets one quota of each of several users, or takes it away (KIP-546)."""

    FLEXIBLE_VERSION = False
    API_KEY = 49
    API_VERSION = 0
    RESPONSE_TYPE = QuotaAltered

    def __init__(self, quota: str, values: Mapping[str, float | None]) -> None:
        validate_only = False
        super().__init__(
            Int32.encode(len(values))
            + b"".join(_quota(user, quota, value) for user, value in values.items())
            + Boolean.encode(validate_only)
        )


def _quota(user: str, quota: str, value: float | None) -> bytes:
    one = Int32.encode(1)
    entity = one + _TEXT.encode("user") + _TEXT.encode(user)
    removed = value is None
    change = one + _TEXT.encode(quota) + _float64.pack(value or 0.0) + Boolean.encode(removed)
    return bytes(entity + change)
