"""Makes tokens with the local signing key, for the demo and for tests of an installation."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from runtime.errors import ConfigurationError
from runtime.files import write_atomically
from runtime.issuers import Issuer
from runtime.settings import Settings

KEY_ID = "local-1"
ISSUER, AUDIENCE = "https://lockstream.local/", "lockstream"


def jwks_file(state_dir: Path) -> Path:
    return state_dir / "jwks.json"


def local_issuer(state_dir: Path) -> Issuer:
    """Returns the local key as an entry of ``LOCKSTREAM_JWT_ISSUERS``."""
    return Issuer(issuer=ISSUER, audience=AUDIENCE, jwks=str(jwks_file(state_dir)))


def ensure_signing_key(state_dir: Path) -> Path:
    """Returns the private key's file, made the first time (mode 0600), with the JWKS beside it."""
    file = state_dir / "signing-key.pem"
    if not file.exists():
        state_dir.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_atomically(file, pem, mode=0o600)
        jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
        jwks = {"keys": [{**jwk, "kid": KEY_ID, "alg": "EdDSA", "use": "sig"}]}
        write_atomically(jwks_file(state_dir), msgspec.json.encode(jwks), mode=0o644)
    return file


def mint_token(
    settings: Settings,
    *,
    subject: str,
    org_id: str | None,
    lifetime: timedelta,
    scope: str | None = None,
) -> str:
    """Returns a signed token.

    Raises:
        ConfigurationError: the lifetime is longer than any that the API accepts.
    """
    if not timedelta(0) < lifetime <= timedelta(seconds=settings.jwt_max_lifetime):
        raise ConfigurationError(
            f"a token may be valid for {settings.jwt_max_lifetime:.0f} s at most "
            "(LOCKSTREAM_JWT_MAX_LIFETIME), and not for less than a second"
        )
    file = ensure_signing_key(settings.state_dir)
    now = datetime.now(UTC)
    claims: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime).timestamp()),
    }
    if org_id is not None:
        claims["org_id"] = org_id
    if scope is not None:
        claims["scope"] = scope
    key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": KEY_ID})
