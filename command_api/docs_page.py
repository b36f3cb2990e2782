"""Serves ``/docs`` and what it shows, offline: ``/openapi.json``, ``/asyncapi.json`` for operators,
``/asyncapi/partner.json`` for partners."""

from importlib.metadata import version
from importlib.resources import files

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from command_api.openapi import openapi_document
from command_api.topic_descriptions import describe_for_partner, describe_topics
from runtime.health import this_machine
from runtime.settings import Settings

_PAGE = "docs.html"
_STATIC = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "docs.js": "text/javascript",
    "topics.js": "text/javascript",
    "docs.css": "text/css",
}
_PAGE_HEADERS = {
    # Swagger UI styles elements in place and draws its icons from data: URLs.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def docs_routes(settings: Settings) -> list[BaseRoute]:
    """Makes the routes, and reads the page's files once for all requests. What is inside the
    installation is shown on this machine only; elsewhere there is ``lockstream schemas export``."""
    openapi_json = msgspec.json.encode(openapi_document(version("lockstream")))
    asyncapi_json = msgspec.json.encode(describe_topics(settings))
    partner_json = msgspec.json.encode(describe_for_partner(settings))
    folder = files("command_api") / "static"
    page = (folder / _PAGE).read_bytes()
    static = {name: (folder / name).read_bytes() for name in _STATIC}

    async def openapi(request: Request) -> Response:
        return Response(openapi_json, media_type="application/json")

    async def asyncapi(request: Request) -> Response:
        if not this_machine(request):
            raise HTTPException(404)
        return Response(asyncapi_json, media_type="application/json")

    async def partner_asyncapi(request: Request) -> Response:
        return Response(partner_json, media_type="application/json")

    async def docs(request: Request) -> Response:
        return Response(page, media_type="text/html", headers=_PAGE_HEADERS)

    def file_route(name: str) -> Route:
        async def send_file(request: Request) -> Response:
            headers = {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}
            return Response(static[name], media_type=_STATIC[name], headers=headers)

        return Route(f"/docs/{name}", send_file)

    return [
        Route("/openapi.json", openapi),
        Route("/asyncapi.json", asyncapi),
        Route("/asyncapi/partner.json", partner_asyncapi),
        Route("/docs", docs),
        *(file_route(name) for name in _STATIC),
    ]
