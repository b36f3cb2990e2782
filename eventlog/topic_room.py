"""Room for the largest record: topics that were made with a lower limit get ours."""

import logging
from collections.abc import Mapping
from typing import Any

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

from eventlog.kafka import REQUEST_TIMEOUT_S
from eventlog.kafka_errors import error_of, kafka_errors
from runtime.waiting import within
from schemas.topic_configs import LARGEST

log = logging.getLogger(__name__)

_TOPIC, _SET = ConfigResourceType.TOPIC, 0
_TEXT = String("utf-8")


class _AlteredV0(Response):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("resources", Array(("error", Int16), ("text", _TEXT), ("kind", Int8), ("name", _TEXT))),
    )


class _AlterV0(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _AlteredV0
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("kind", Int8),
                ("name", _TEXT),
                ("settings", Array(("name", _TEXT), ("operation", Int8), ("value", _TEXT))),
            ),
        ),
        ("validate_only", Boolean),
    )


class _AlterSettings(Request[_AlterV0]):  # type: ignore[misc]
    """IncrementalAlterConfigs (KIP-339), which aiokafka lacks: its AlterConfigs takes all other
    settings of the topic away."""

    API_KEY = 44

    def __init__(self, wanted: Mapping[str, int]) -> None:
        self._wanted = wanted

    def build(self, request_struct_class: type[_AlterV0]) -> _AlterV0:
        return request_struct_class(
            [(_TOPIC, name, [(LARGEST, _SET, str(n))]) for name, n in self._wanted.items()], False
        )


async def make_room(admin: Any, wanted: Mapping[str, int]) -> None:
    """Raises the limit on one batch of records of these topics where it is lower than ``wanted``,
    and touches no other setting. That it may not is logged: who then writes a larger record stops.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    if not wanted:
        return
    asked = [ConfigResource(_TOPIC, name, {LARGEST: ""}) for name in wanted]
    with kafka_errors("asking for the topics' settings"):
        answers = await within(admin.describe_configs(asked), REQUEST_TIMEOUT_S)
    limits = {
        resource[3]: int(setting[1])
        for answer in answers
        for resource in answer.resources
        for setting in resource[4]
    }
    low = {name: wanted[name] for name, limit in limits.items() if limit < wanted[name]}
    if not low:
        return
    with kafka_errors("raising the topics' limits"):
        answer = await within(admin._send_request(_AlterSettings(low)), REQUEST_TIMEOUT_S)
    for code, text, _, name in answer.resources:
        if code:
            log.warning(
                "%s: %s may not be raised to %s (%r); set it yourself",
                *(name, LARGEST, low[name], error_of(code, text)),
            )
        else:
            log.info("%s: %s is now %s", name, LARGEST, low[name])
