"""A caller of the HTTP API with the demo's credentials."""

from collections.abc import Mapping
from typing import Any

import httpx

BODY = {"tempKeyUuid": "example_string", "userId": "example_string"}


class Caller:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)
        self.credentials = {
            "Authorization": f"Bearer {env['TOKEN']}",
            "X-API-Key": env["API_KEY"],
        }
        self._client = httpx.Client(base_url=env["BASE_URL"], timeout=20)

    def close(self) -> None:
        self._client.close()

    def use(
        self,
        lock_id: object = 123,
        body: Any = BODY,
        *,
        key: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """``headers``: added to the credentials; None takes one away."""
        chosen: dict[str, str | None] = {**self.credentials, "Content-Type": "application/json"}
        if key is not None:
            chosen["Idempotency-Key"] = key
        chosen.update(headers or {})
        kept = {name: value for name, value in chosen.items() if value is not None}
        path = f"/locks/{lock_id}/use-temp-key"
        if content is not None:
            return self._client.post(path, content=content, headers=kept)
        return self._client.post(path, json=body, headers=kept)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self._client.get(path, headers={**self.credentials, **(headers or {})})

    def request(self, method: str, path: str) -> httpx.Response:
        return self._client.request(method, path, headers=self.credentials)
