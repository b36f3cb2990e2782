"""Checks tokens for all alternatives: PyJWT with Lockstream's own key. Lockstream remembers for a
minute what it has verified, so the alternatives do, too: they are compared at their best."""

import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
from jwt.algorithms import OKPAlgorithm

REMEMBERED_S = 60.0
REMEMBERED_TOKENS = 4096


class TokenCheck:
    def __init__(self, jwks: Path) -> None:
        key = json.loads(jwks.read_text())["keys"][0]
        self._key: Any = OKPAlgorithm.from_jwk(key)
        self._verified: dict[str, float] = {}

    def __call__(self, authorization: str) -> None:
        """Checks the token of a request.

        Raises:
            jwt.PyJWTError: the token is missing or not valid.
        """
        token = authorization.removeprefix("Bearer ")
        now = time.time()
        if now < self._verified.get(token, 0.0):
            return
        claims = jwt.decode(
            token,
            self._key,
            algorithms=["EdDSA"],
            audience="lockstream",
            issuer="https://lockstream.local/",
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
        if len(self._verified) >= REMEMBERED_TOKENS:
            self._verified.clear()
        self._verified[token] = min(now + REMEMBERED_S, claims["exp"])


def token_check() -> TokenCheck:
    return TokenCheck(Path(os.environ["JWKS"]))
