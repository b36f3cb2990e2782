"""Publishes the command and answers with its offset: durable, but without a version."""

import contextlib
import json
import os
from collections.abc import AsyncIterator

import jwt
from aiokafka import AIOKafkaProducer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.alternatives.serving import serve
from bench.alternatives.token_check import token_check


def make_app() -> Starlette:
    check = token_check()
    topic = os.environ["TOPIC"]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
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

    async def use_temp_key(request: Request) -> JSONResponse:
        try:
            check(request.headers.get("authorization", ""))
        except jwt.PyJWTError:
            return JSONResponse({"error": "Unauthorized"}, 401)
        lock_id = request.path_params["id"]
        body = await request.json()
        fact = {
            "lockId": lock_id,
            "tempKeyUuid": body["tempKeyUuid"],
            "userId": body.get("userId"),
        }
        sent = await request.app.state.producer.send_and_wait(
            topic, json.dumps(fact).encode(), key=str(lock_id).encode()
        )
        return JSONResponse({"success": True, "partition": sent.partition, "offset": sent.offset})

    return Starlette(
        routes=[Route("/locks/{id:int}/use-temp-key", use_temp_key, methods=["POST"])],
        lifespan=lifespan,
    )


if __name__ == "__main__":
    serve(make_app())
