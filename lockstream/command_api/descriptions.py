"""``/openapi.json`` and ``/docs``."""

from starlette.routing import BaseRoute


def description_routes() -> list[BaseRoute]:
    return []
