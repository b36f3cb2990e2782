"""Hands each request to its route, and answers whatever is raised there.

The routes, requests and responses are Starlette's. The layers of its application are not there:
they cost a command as much CPU as all that it is about.
"""

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from command_api.errors import on_error, on_http_exception
from runtime.errors import LockstreamError


class Routes:
    """Serves routes as the innermost ASGI layer. There are no redirects: a URL would have to be
    made of the Host header."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = [route for route in routes if isinstance(route, Route)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request.

        Raises:
            Exception: what nobody has foreseen, once the caller has its answer: the server logs it.
        """
        request = Request(scope, receive)
        try:
            route = self._find(scope)
            answer: Response = await route.endpoint(request)
        except LockstreamError as error:
            answer = await on_error(request, error)
        except HTTPException as error:
            answer = await on_http_exception(request, error)
        except Exception as error:
            answer = await on_error(request, error)
            await answer(scope, receive, send)
            raise
        await answer(scope, receive, send)

    def _find(self, scope: Scope) -> Route:
        """Returns the route of a request.

        Raises:
            HTTPException: 404 or 405.
        """
        of_another_method = None
        for route in self._routes:
            found = route.path_regex.match(scope["path"])
            if found is None:
                continue
            if scope["method"] in (route.methods or ()):
                scope["route"], scope["path_params"] = route, found.groupdict()
                return route
            of_another_method = of_another_method or route
        if of_another_method is None:
            raise HTTPException(404)
        raise HTTPException(405, headers={"Allow": ", ".join(of_another_method.methods or ())})
