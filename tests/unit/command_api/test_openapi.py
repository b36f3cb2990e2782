"""``/openapi.json`` is valid, and says what the application does."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.exceptions import HTTPException
from starlette.requests import Request

from command_api.connection import MAX_HEAD_BYTES
from command_api.errors import (
    PROBLEM,
    STATUS_OF,
    TOKEN_MISSING,
    BadField,
    ErrorContext,
    Forbidden,
    HeadTooLarge,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    NotReceivedInTime,
    RateLimited,
    TooLarge,
    Unauthenticated,
    UnsupportedMediaType,
    VersionNotReached,
    error_response,
    on_http_exception,
    status_of,
)
from command_api.openapi import openapi_document
from command_api.openapi_answers import REFUSALS
from command_api.requests import MAX_BODY_BYTES, MAX_KEY, read_idempotency_key
from runtime.errors import KafkaUnavailable

DOCUMENT = openapi_document("1.2.3")
ERRORS: tuple[Exception, ...] = (
    InvalidRequest(
        (BadField("tempKeyUuid", "is required"), BadField("userID", "is not a known field"))
    ),
    Unauthenticated("The Authorization header is missing", challenge=TOKEN_MISSING),
    Forbidden("The token lacks the scope locks:use-temp-key", missing_scope="locks:use-temp-key"),
    NotFound(),
    TooLarge(f"The body may have {MAX_BODY_BYTES} bytes at most"),
    UnsupportedMediaType("Send the body with Content-Type: application/json"),
    IdempotencyKeyReused(),
    NotReceivedInTime(),
    VersionNotReached(123, 7, 8),
    HeadTooLarge(f"The request line and headers may have {MAX_HEAD_BYTES} bytes at most"),
    RateLimited(
        {
            "Retry-After": "10",
            "RateLimit-Policy": '"organization";q=600;w=60, "key";q=6;w=60',
            "RateLimit": '"organization";r=590;t=1, "key";r=0;t=10',
        }
    ),
    ZeroDivisionError(),
    KafkaUnavailable("no broker"),
)
EVERYWHERE = {"content-type", "content-length"}


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            yield operation["operationId"], operation


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in part:
        _, _, kind, name = part["$ref"].split("/")
        part = DOCUMENT["components"][kind][name]
    return part


def check(instance: object, schema: dict[str, Any]) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(
        whole, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    ).validate(instance)


def test_it_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_operation_needs_both_credentials_at_once() -> None:
    (together,) = DOCUMENT["security"]
    assert set(together) == {"bearerToken", "apiKey"}
    assert all("security" not in operation for _, operation in operations())


def test_every_status_of_the_error_table_is_described() -> None:
    described = {status for _, operation in operations() for status in operation["responses"]}
    assert {str(status) for status in STATUS_OF.values()} | {"405"} <= described
    assert described - {"200", "202"} == {str(status) for status in REFUSALS}


def test_every_answer_has_a_body_and_says_which_request_it_answers() -> None:
    for name, operation in operations():
        for status, response in operation["responses"].items():
            answer = resolved(response)
            assert "X-Request-Id" in answer["headers"], (name, status)
            assert "application/json" in answer["content"], (name, status)
            assert (PROBLEM in answer["content"]) == (int(status) >= 400), (name, status)


def test_examples_are_of_their_schemas() -> None:
    count = 0
    for _, operation in operations():
        bodies = [resolved(answer)["content"] for answer in operation["responses"].values()]
        if "requestBody" in operation:
            bodies.append(operation["requestBody"]["content"])
        for media_types in bodies:
            for content in media_types.values():
                examples = [e["value"] for e in content.get("examples", {}).values()]
                for value in examples or [content["example"]]:
                    check(value, content["schema"])
                    count += 1
    assert count > 40


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: str(status_of(e)))
@pytest.mark.parametrize("media_type", ["application/json", PROBLEM])
def test_a_refusal_is_described_as_it_is_sent(error: Exception, media_type: str) -> None:
    sent = error_response(ErrorContext(media_type), error)
    described = resolved(DOCUMENT["components"]["responses"][f"Refusal{sent.status_code}"])
    assert sent.headers["content-type"] == media_type
    content = described["content"][media_type]
    assert json.loads(bytes(sent.body)) == content["example"]
    check_headers(dict(sent.headers), described["headers"])


async def test_a_method_that_is_not_there_is_described_as_it_is_refused() -> None:
    request = Request({"type": "http", "method": "PUT", "headers": []})
    sent = await on_http_exception(request, HTTPException(405, headers={"Allow": "POST"}))
    described = resolved(DOCUMENT["components"]["responses"]["Refusal405"])
    assert json.loads(bytes(sent.body)) == described["content"]["application/json"]["example"]
    check_headers(dict(sent.headers), described["headers"])


def check_headers(sent: dict[str, str], described: dict[str, Any]) -> None:
    """All that is sent is described, with this value; ``X-Request-Id`` is added later."""
    known = {name.lower(): resolved(header) for name, header in described.items()}
    for name, value in sent.items():
        if name not in EVERYWHERE:
            assert known[name]["example"] == value
    always = {name for name, header in known.items() if header["required"]}
    assert always - {"x-request-id"} <= set(sent)


def test_patterns_are_written_for_every_language() -> None:
    """``\\Z`` is the letter Z to all but Python."""
    assert "\\\\Z" not in json.dumps(DOCUMENT)
    lock = DOCUMENT["components"]["schemas"]["TempKeyUse"]["properties"]["tempKeyUuid"]
    assert lock["pattern"].endswith("*$")


def test_generators_can_tell_the_types_of_a_union_apart() -> None:
    """``oneOf`` beside each discriminator, and a type of its own for each tag."""
    schemas = DOCUMENT["components"]["schemas"]
    unions = [part for part in _everywhere(schemas) if "discriminator" in part]
    assert len(unions) == 2
    for union in unions:
        assert "anyOf" not in union
        mapping = union["discriminator"]["mapping"]
        assert [{"$ref": reference} for reference in mapping.values()] == union["oneOf"]
        for tag, reference in mapping.items():
            (tag_type,) = schemas[reference.rsplit("/", 1)[-1]]["properties"]["type"].values()
            assert schemas[tag_type.rsplit("/", 1)[-1]] == {"type": "string", "enum": [tag]}


def _everywhere(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    for part in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(part, dict | list):
            yield from _everywhere(part)


KEY_CHARACTERS = st.sampled_from(['"', "\\", " ", "a", "~", "!", "\x7f", "\u00e9"])
KEYS = st.one_of(
    st.text(KEY_CHARACTERS, max_size=8),
    st.builds(
        lambda head, unit, times, tail: head + unit * times + tail,
        st.text(KEY_CHARACTERS, max_size=2),
        st.text(KEY_CHARACTERS, min_size=1, max_size=2),
        st.integers(MAX_KEY - 3, MAX_KEY + 3),
        st.text(KEY_CHARACTERS, max_size=2),
    ),
)


@given(KEYS)
@example('"' * (MAX_KEY + 1))
@example('""')
@example('"')
def test_an_idempotency_key_is_described_as_it_is_read(key: str) -> None:
    given_key = key.strip(" \t")  # what surrounds a header's value is none of it
    (described,) = [
        parameter["schema"]
        for parameter in DOCUMENT["paths"]["/locks/{id}/use-temp-key"]["post"]["parameters"]
        if parameter["name"] == "Idempotency-Key"
    ]
    accepted = not isinstance(read_idempotency_key(given_key), BadField)
    assert jsonschema.Draft202012Validator(described).is_valid(given_key) == accepted
