"""Puts FastStream's broker behind a FastAPI endpoint, as its documentation does. The broker is
started and stopped in the lifespan. Its defaults don't wait for all replicas; here they are changed
to."""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException
from faststream.kafka import KafkaBroker
from pydantic import BaseModel

from bench.alternatives.serving import serve
from bench.alternatives.token_check import token_check


class UseTempKey(BaseModel):
    tempKeyUuid: str
    userId: str | None = None


class Published(BaseModel):
    success: bool
    partition: int
    offset: int


def make_app() -> Any:
    check = token_check()
    topic = os.environ["TOPIC"]
    broker = KafkaBroker(
        os.environ["KAFKA_BOOTSTRAP_SERVERS"], acks="all", enable_idempotence=True, logger=None
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with broker:
            await broker.start()
            yield

    async def authenticated(authorization: Annotated[str, Header()] = "") -> None:
        try:
            check(authorization)
        except jwt.PyJWTError as error:
            raise HTTPException(401, "Unauthorized") from error

    app = FastAPI(lifespan=lifespan)

    @app.post("/locks/{lock_id}/use-temp-key", dependencies=[Depends(authenticated)])
    async def use_temp_key(lock_id: int, body: UseTempKey) -> Published:
        sent = await broker.publish(body, topic, key=str(lock_id).encode())
        return Published(success=True, partition=sent.partition, offset=sent.offset)

    return app


if __name__ == "__main__":
    serve(make_app())
