"""Keeps an event table with an optimistic version check. Reads the lock's version, appends the
next, and tries again when another request was quicker. Answers with the version, as Lockstream
does."""

import contextlib
import json
import os
from collections.abc import AsyncIterator

import asyncpg
import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.alternatives.serving import serve
from bench.alternatives.token_check import token_check

CONNECTIONS = 20
ATTEMPTS = 50
TABLE = """
CREATE TABLE IF NOT EXISTS event (
    lock_id bigint NOT NULL,
    version bigint NOT NULL,
    data jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lock_id, version)
)
"""
VERSION = "SELECT coalesce(max(version), 0) FROM event WHERE lock_id = $1"
APPEND = """
INSERT INTO event (lock_id, version, data) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING RETURNING version
"""


async def append(pool: asyncpg.Pool, lock_id: int, data: str) -> int | None:
    """The version that the event got; None when others were quicker too often."""
    async with pool.acquire() as connection:
        for _ in range(ATTEMPTS):
            version = await connection.fetchval(VERSION, lock_id)
            if await connection.fetchval(APPEND, lock_id, version + 1, data) is not None:
                return int(version) + 1
    return None


def make_app() -> Starlette:
    check = token_check()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        url = os.environ["POSTGRES_URL"]
        async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
            await pool.execute(TABLE)
            app.state.pool = pool
            yield

    async def use_temp_key(request: Request) -> JSONResponse:
        try:
            check(request.headers.get("authorization", ""))
        except jwt.PyJWTError:
            return JSONResponse({"error": "Unauthorized"}, 401)
        body = await request.json()
        data = json.dumps({"tempKeyUuid": body["tempKeyUuid"], "userId": body.get("userId")})
        version = await append(request.app.state.pool, request.path_params["id"], data)
        if version is None:
            return JSONResponse({"error": "Conflict"}, 409)
        return JSONResponse({"success": True, "version": version})

    return Starlette(
        routes=[Route("/locks/{id:int}/use-temp-key", use_temp_key, methods=["POST"])],
        lifespan=lifespan,
    )


if __name__ == "__main__":
    serve(make_app())
