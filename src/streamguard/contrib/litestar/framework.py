"""How Litestar calls a guarded endpoint.

Measured on Litestar 2.25:

- `request`, like `data`, `scope`, `state`, `headers`, `cookies`, `query`, `body` and `socket`, is reserved: a parameter
  of that name is the request, whatever its annotation, and none of another name is.
- It takes the signature from `__signature__` and the hints from `__annotations__`, and resolves strings in the globals
  of the module that `__module__` names, in `signature_namespace`, and in its own public names.
- A handler must have a return annotation; `Response[…]` makes Litestar send what the handler returns by its
  `to_asgi_response`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Final, cast

import litestar
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...web.endpoint.framework import Framework, Hidden
from ...web.misuse import Misuse
from .request import LitestarRequest, StarletteRequest
from .responses import GuardedResponse, HostsResponse, hosts_response

__all__ = ["LITESTAR", "LitestarFramework"]

_REQUEST: Final = "request"


class LitestarFramework(Framework):
    """Litestar."""

    # Litestar has a handler for Starlette's too.
    own_errors: tuple[type[Exception], ...] = (HTTPException, StarletteHTTPException)
    name: str = "litestar"
    installing: str = "give the application StreamGuardPlugin(guard, '/api/chat') in plugins=[…]"
    resolves_names: bool = True

    def answered_errors(self, request: Request) -> tuple[type[Exception], ...]:
        handlers = request.scope["route_handler"].resolve_exception_handlers()
        return (*self.own_errors, *(key for key in handlers if isinstance(key, type) and key is not Exception))

    def check(self, endpoint: object) -> None:
        if isinstance(endpoint, BaseRouteHandler):
            raise Misuse.DECORATED_HANDLER.error(
                endpoint=endpoint.handler_name, decorator=type(endpoint).__name__.lower()
            )

    def is_request(self, name: str, annotation: object) -> bool:
        return name == _REQUEST

    def signature(
        self, parameters: Sequence[inspect.Parameter], *, request: str | None, response: str | None
    ) -> inspect.Signature:
        shown = list(parameters)
        if request is None:
            shown.append(inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=litestar.Request))
        return inspect.Signature(shown, return_annotation=litestar.Response[str])

    def take_hidden(self, args: tuple[object, ...], keywords: dict[str, object], *, own_request: bool) -> Hidden:
        return args, None if own_request else keywords.pop(_REQUEST, None), None

    def starlette_request(self, request: object) -> Request | None:
        return StarletteRequest(request) if isinstance(request, litestar.Request) else None

    def returned(self, returned: object, arguments: Mapping[str, object]) -> object:
        return hosts_response(returned, cast("LitestarRequest", arguments[_REQUEST]))

    def answer(self, response: Response) -> object:
        return response.response if isinstance(response, HostsResponse) else GuardedResponse(response)


LITESTAR: Final = LitestarFramework()
