"""Keeps what the layers of one request tell each other: one typed value in the ASGI scope."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import Scope

from runtime.logs import RequestIds
from schemas.registry import ApiKey

WHOLE_BODY = "lockstream.body"
"""The key in the scope for a body that came whole, in one piece with the end of its head."""
_PLACE = "lockstream"


@dataclass(slots=True)
class RequestState:
    """The outermost layer makes the state, the inner ones fill it in.

    ``api_key``: set once a good one was presented, whatever else is wrong with the request.
    ``answer_headers``: headers that the answer shall have whatever it is.
    """

    ids: RequestIds
    api_key: ApiKey | None = None
    answer_headers: Sequence[tuple[bytes, bytes]] = ()


def begin_request(scope: Scope, ids: RequestIds) -> RequestState:
    """Gives a request its state. Called once, before any other layer."""
    state = RequestState(ids)
    scope[_PLACE] = state
    return state


def request_state(scope: Scope) -> RequestState:
    """Returns the state that the outermost layer has given to the request."""
    state: RequestState = scope[_PLACE]
    return state
