"""Checks the token and answers ``{}``: no endpoint on this server can be quicker."""

import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.alternatives.serving import serve
from bench.alternatives.token_check import token_check


def make_app() -> Starlette:
    check = token_check()

    async def use_temp_key(request: Request) -> JSONResponse:
        try:
            check(request.headers.get("authorization", ""))
        except jwt.PyJWTError:
            return JSONResponse({"error": "Unauthorized"}, 401)
        await request.json()
        return JSONResponse({})

    return Starlette(routes=[Route("/locks/{id:int}/use-temp-key", use_temp_key, methods=["POST"])])


if __name__ == "__main__":
    serve(make_app())
