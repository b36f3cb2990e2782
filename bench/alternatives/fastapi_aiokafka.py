"""Does the same as ``starlette_aiokafka``, with FastAPI's models and dependencies."""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

import jwt
from aiokafka import AIOKafkaProducer
from fastapi import Depends, FastAPI, Header, HTTPException, Request
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

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.state.producer = AIOKafkaProducer(
            bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
            enable_idempotence=True,
            acks="all",
        )
        await app.state.producer.start()
        try:
            yield
        finally:
            await app.state.producer.stop()

    async def authenticated(authorization: Annotated[str, Header()] = "") -> None:
        try:
            check(authorization)
        except jwt.PyJWTError as error:
            raise HTTPException(401, "Unauthorized") from error

    app = FastAPI(lifespan=lifespan)

    @app.post("/locks/{lock_id}/use-temp-key", dependencies=[Depends(authenticated)])
    async def use_temp_key(lock_id: int, body: UseTempKey, request: Request) -> Published:
        sent = await request.app.state.producer.send_and_wait(
            topic, body.model_dump_json().encode(), key=str(lock_id).encode()
        )
        return Published(success=True, partition=sent.partition, offset=sent.offset)

    return app


if __name__ == "__main__":
    serve(make_app())
