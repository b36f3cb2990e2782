"""Reads whose tokens are accepted: the list in ``LOCKSTREAM_JWT_ISSUERS``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import httpx
import msgspec

from runtime.addresses import is_loopback
from runtime.errors import ConfigurationError

VARIABLE = "LOCKSTREAM_JWT_ISSUERS"
MAX_ISSUERS = 32

Algorithm = Literal[
    "EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"
]
"""Only asymmetric ones: who can check a token must not be able to make one (RFC 8725, 3.1)."""

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]


class Issuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Describes one issuer of the list.

    ``issuer`` and ``audience``: what ``iss`` must be and ``aud`` must be or name. ``jwks``: the URL
    or the file of the issuer's public keys. ``scope``: what a token must grant if it carries
    ``scope`` or ``scp``; empty: not checked.
    """

    issuer: _Text
    audience: _Text
    jwks: _Text
    algorithms: Annotated[tuple[Algorithm, ...], msgspec.Meta(min_length=1)] = (
        "EdDSA",
        "ES256",
        "RS256",
    )
    scope: Annotated[str, msgspec.Meta(pattern=r"^[!#-\[\]-~]*\Z", max_length=256)] = (
        "locks:use-temp-key"
    )

    @property
    def jwks_url(self) -> httpx.URL | None:
        """Returns the URL of the keys, or None if they are in a file."""
        return httpx.URL(self.jwks) if "://" in self.jwks else None


def read_issuers(setting: str) -> tuple[Issuer, ...]:
    """Reads the setting: a JSON list, or the name of a file that holds one.

    Raises:
        ConfigurationError: the setting is empty or unreadable, or an entry is invalid.
    """
    if not setting:
        raise ConfigurationError(f"{VARIABLE} is not set: list whose tokens are accepted")
    try:
        text = setting.encode() if setting.lstrip().startswith("[") else Path(setting).read_bytes()
        issuers = msgspec.json.decode(text, type=tuple[Issuer, ...])
    except OSError as error:
        raise ConfigurationError(f"{VARIABLE}: {setting}: {error.strerror}") from error
    except (ValueError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"{VARIABLE}: {error}") from error
    if not 1 <= len(issuers) <= MAX_ISSUERS:
        raise ConfigurationError(f"{VARIABLE}: list 1 to {MAX_ISSUERS} issuers")
    if len({entry.issuer for entry in issuers}) < len(issuers):
        raise ConfigurationError(f"{VARIABLE}: an issuer is listed twice")
    for entry in issuers:
        _check_url(entry)
    return issuers


def write_issuers(issuers: Sequence[Issuer]) -> str:
    """Writes the setting's value for these issuers."""
    return msgspec.json.encode(issuers).decode()


def _check_url(entry: Issuer) -> None:
    try:
        url = entry.jwks_url
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{VARIABLE}: jwks {entry.jwks!r}: {error}") from error
    if url is None:
        return
    if not url.host or url.userinfo or url.fragment:
        raise ConfigurationError(
            f"{VARIABLE}: the jwks URL of {entry.issuer} needs a host, no password, no fragment"
        )
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
        raise ConfigurationError(
            f"{VARIABLE}: jwks {entry.jwks!r}: https only (plain http only to this machine)"
        )
