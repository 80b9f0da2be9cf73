"""What a guarded endpoint has to know of the web framework that calls it, and the one for Starlette and FastAPI.

The code below the endpoint knows Starlette's requests and responses alone. Another framework is a `Framework` of its
own (`streamguard.contrib.litestar`): it says which signature it wants to see, where its request is among the arguments
of a call, which exceptions it answers by itself, and how its responses become Starlette's and back.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import lru_cache
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

__all__ = ["REQUEST_PARAMETER", "RESPONSE_PARAMETER", "STARLETTE", "Framework", "Hidden", "StarletteFramework"]

REQUEST_PARAMETER: Final = "streamguard_request_"
"""The parameter for Starlette's request, if the endpoint has none."""
RESPONSE_PARAMETER: Final = "streamguard_response_"
"""The parameter for FastAPI's `Response`, whose headers and status dependencies may set."""

_Parameter = inspect.Parameter


Hidden = tuple[tuple[object, ...], object, object]
"""What a framework's call leaves and has besides: the positional arguments that remain; the framework's request, where
the endpoint has no parameter for it, otherwise None; and FastAPI's injected `Response`, likewise."""


class Framework(ABC):
    """How one framework calls endpoints. Stateless: one object for all endpoints."""

    name: str
    """What operators know it by."""

    own_errors: tuple[type[Exception], ...]
    """What hosts raise to have the framework answer, whatever handlers they have."""

    installing: str
    """How the guard's routes get into an application, for messages."""

    resolves_names: bool = False
    """Whether the framework resolves annotations itself that cannot be resolved where the endpoint is decorated."""

    def name_for(self, request: Request) -> str:
        """The name of the framework that this request came through."""
        return self.name

    def answered_errors(self, request: Request) -> tuple[type[Exception], ...]:
        """What the framework makes a response of: `own_errors`, and all for which the host has a handler where this
        request is answered. Raised before the first event, they get to it unchanged.

        A handler of every exception does not count: it knows nothing of a failure of the model, and the guard does.
        """
        return self.own_errors

    async def close_dependencies(self, scope: Scope, error: Exception) -> None:  # noqa: B027 -- most have none
        """Close what the framework keeps open for an endpoint until its response has been sent, as if the endpoint had
        raised `error`.

        Raises:
            Exception: what a dependency raises instead.
        """

    @abstractmethod
    def check(self, endpoint: object) -> None:
        """Raises `ConfigurationError` for what is decorated in a way that cannot work in this framework."""

    @abstractmethod
    def is_request(self, name: str, annotation: object) -> bool:
        """Whether a parameter is given the framework's request. `annotation` is bare: without `Annotated`, or None."""

    def is_response(self, annotation: object) -> bool:
        """Whether a parameter is given a response whose headers and status dependencies may set."""
        return False

    @abstractmethod
    def signature(
        self, parameters: Sequence[inspect.Parameter], *, request: str | None, response: str | None
    ) -> inspect.Signature:
        """The signature that the framework sees, made from the endpoint's own without its `Run`. `request` and
        `response` are the names of the endpoint's own parameters for these."""

    @abstractmethod
    def take_hidden(self, args: tuple[object, ...], keywords: dict[str, object], *, own_request: bool) -> Hidden:
        """Take what `signature` added out of the arguments of a call. `own_request`: the endpoint has a parameter for
        the request."""

    @abstractmethod
    def starlette_request(self, request: object) -> Request | None:
        """The framework's request as Starlette's; None for anything else. One object for each request of the
        framework: what reads its body keeps that for all."""

    def status_code(self, request: Request) -> int | None:
        """The status that the endpoint's route gives an answer which has none of its own; None without one."""
        return None

    def returned(self, returned: object, arguments: Mapping[str, object]) -> object:
        """What an endpoint returned, with a response of the framework's own as one of Starlette's. `arguments` are
        those that it was called with."""
        return returned

    def answer(self, response: Response) -> object:
        """A response as the framework takes it from an endpoint."""
        return response


class StarletteFramework(Framework):
    """Starlette, and FastAPI.

    Measured on FastAPI 0.115 to 0.165: only the last of several `Request` parameters gets a value.
    """

    own_errors: tuple[type[Exception], ...] = (HTTPException,)
    name: str = "starlette"
    installing: str = "call guard.install(app, '/api/chat')"

    def name_for(self, request: Request) -> str:
        """FastAPI's applications are Starlette's, by class."""
        application = type(request.scope.get("app"))
        return "fastapi" if _is_fastapis(application) else self.name  # type: ignore[arg-type] # a class has a hash

    def answered_errors(self, request: Request) -> tuple[type[Exception], ...]:
        handlers = request.scope.get("starlette.exception_handlers")
        return (*self.own_errors, *handlers[0]) if handlers else self.own_errors

    async def close_dependencies(self, scope: Scope, error: Exception) -> None:
        """FastAPI's that yield: `Depends(…, scope="function")`, and all others."""
        for name in ("fastapi_function_astack", "fastapi_inner_astack"):
            opened = scope.get(name)
            if isinstance(opened, AsyncExitStack):
                await opened.pop_all().__aexit__(type(error), error, error.__traceback__)

    def check(self, endpoint: object) -> None:
        """Nothing is wrong that its signature does not show."""

    def is_request(self, name: str, annotation: object) -> bool:
        if annotation is _Parameter.empty:
            return name == "request"
        return isinstance(annotation, type) and issubclass(annotation, Request)

    def is_response(self, annotation: object) -> bool:
        return annotation is Response

    def signature(
        self, parameters: Sequence[inspect.Parameter], *, request: str | None, response: str | None
    ) -> inspect.Signature:
        shown = list(parameters)
        at = len(shown) - 1 if shown and shown[-1].kind is _Parameter.VAR_KEYWORD else len(shown)
        if response is None:
            shown.insert(at, _Parameter(RESPONSE_PARAMETER, _Parameter.KEYWORD_ONLY, annotation=Response))
        if request is None:
            shown.insert(at, _Parameter(REQUEST_PARAMETER, _Parameter.KEYWORD_ONLY, annotation=Request))
        return inspect.Signature(shown, return_annotation=Response)

    def take_hidden(self, args: tuple[object, ...], keywords: dict[str, object], *, own_request: bool) -> Hidden:
        request = keywords.pop(REQUEST_PARAMETER, None)
        response = keywords.pop(RESPONSE_PARAMETER, None)
        if request is None and not own_request and args and isinstance(args[-1], Request):
            *rest, request = args  # Starlette's plain endpoints get the request as their one argument
            args = tuple(rest)
        return args, request, response

    def starlette_request(self, request: object) -> Request | None:
        return request if isinstance(request, Request) else None

    def status_code(self, request: Request) -> int | None:
        return getattr(request.scope.get("route"), "status_code", None)  # FastAPI's routes have it


@lru_cache(maxsize=64)
def _is_fastapis(application: type) -> bool:
    return any(one.__module__.startswith("fastapi") for one in application.__mro__)


STARLETTE: Final = StarletteFramework()
