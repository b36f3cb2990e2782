"""``LOCKSTREAM_JWT_ISSUERS``: what may stand in it, and how what may not is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ConfigurationError
from runtime.issuers import Issuer, read_issuers, write_issuers

ENTRY = {"issuer": "https://id.example/", "audience": "lockstream", "jwks": "/etc/jwks.json"}


def listed(**changed: Any) -> str:
    return json.dumps([{k: v for k, v in {**ENTRY, **changed}.items() if v is not ...}])


def test_a_list_is_read_from_the_variable_or_from_the_file_it_names(tmp_path: Path) -> None:
    expected = Issuer(issuer="https://id.example/", audience="lockstream", jwks="/etc/jwks.json")
    file = tmp_path / "issuers.json"
    file.write_text(listed())
    assert read_issuers(listed()) == read_issuers(str(file)) == (expected,)
    assert read_issuers(write_issuers([expected])) == (expected,)


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example/jwks?tenant=7",
        "http://127.0.0.1:8000/jwks",
        "http://[::1]:8000/jwks",
        "https://[2001:db8::1]:8443/jwks",
        "http://[::ffff:127.0.0.1]/jwks",
        "http://localhost/jwks",
    ],
)
def test_keys_come_over_https_or_from_this_machine(url: str) -> None:
    assert str(read_issuers(listed(jwks=url))[0].jwks_url) == url


@pytest.mark.parametrize(
    "setting",
    [
        "",
        "/no/such/file.json",
        "[",
        "[]",
        "[1]",
        listed(issuer=...),
        listed(issuer=""),
        listed(audience=...),
        listed(jwks=...),
        listed(algorithm=["ES256"]),
        listed(algorithms=[]),
        listed(algorithms=["HS256"]),
        listed(algorithms=["none"]),
        listed(scope='locks" error="'),
        listed(jwks="http://id.example/jwks"),
        listed(jwks="http://[2001:db8::1]/jwks"),
        listed(jwks="http://[::ffff:10.0.0.7]/jwks"),
        listed(jwks="https://[::1/jwks"),
        listed(jwks="http://127.0.0.1.evil.example/jwks"),
        listed(jwks="http://127.0.0.1@evil.example/jwks"),
        listed(jwks="https://user:secret@id.example/jwks"),
        listed(jwks="https:///jwks"),
        listed(jwks="https://id.example/jwks#keys"),
        listed(jwks="file:///etc/jwks.json"),
        listed(jwks="ftp://id.example/jwks"),
        listed(jwks="https://id.example:port/jwks"),
        json.dumps([ENTRY, ENTRY]),
        json.dumps([ENTRY, {**ENTRY, "audience": "another"}]),
        json.dumps([{**ENTRY, "issuer": f"https://{i}.example/"} for i in range(33)]),
    ],
)
def test_what_is_no_list_of_issuers_is_refused_in_one_line(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="LOCKSTREAM_JWT_ISSUERS") as refusal:
        read_issuers(setting)
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)
