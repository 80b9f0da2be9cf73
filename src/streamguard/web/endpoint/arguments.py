"""From the arguments that a framework calls an endpoint with to the endpoint's own, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ...errors import ConfigurationError
from .run import Run
from .signature import REQUEST_PARAMETER, RESPONSE_PARAMETER, EndpointSignature

__all__ = ["EndpointArguments", "bind_arguments", "call_endpoint"]


class EndpointArguments(NamedTuple):
    """What one request calls an endpoint with."""

    named: Mapping[str, object]
    """The endpoint's own arguments by name, without its `Run`."""
    request: Request
    injected: Response | None
    """FastAPI's `Response`, whose headers and status dependencies may set."""


def bind_arguments(
    signature: EndpointSignature, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> EndpointArguments:
    """Sort the arguments of a framework's call.

    Raises:
        ConfigurationError: they are not the endpoint's, or there is no request among them.
    """
    keywords = dict(kwargs)
    request = keywords.pop(REQUEST_PARAMETER, None)
    injected = keywords.pop(RESPONSE_PARAMETER, None)
    if request is None and signature.request is None and args and isinstance(args[-1], Request):
        *rest, request = args  # Starlette's plain endpoints get the request as their one argument
        args = tuple(rest)
    visible = signature.own.replace(
        parameters=[parameter for name, parameter in signature.own.parameters.items() if name != signature.run]
    )
    try:
        bound = visible.bind(*args, **keywords)
    except TypeError as exc:
        raise ConfigurationError(f"{signature.name} was called with arguments it does not take: {exc}") from exc
    bound.apply_defaults()
    named = dict(bound.arguments)
    if signature.request is not None:
        request = named[signature.request]
    if signature.response is not None:
        injected = named[signature.response]
    if not isinstance(request, Request):
        raise ConfigurationError(
            f"{signature.name} was called without a request: register what @guard.stream returns, as "
            "@app.post(…) above @guard.stream(…) does"
        )
    return EndpointArguments(named, request, injected if isinstance(injected, Response) else None)


def call_endpoint(
    function: Callable[..., object], signature: EndpointSignature, named: Mapping[str, object], run: Run
) -> object:
    """Call the endpoint's function with its arguments and its `Run`."""
    if signature.run is not None:
        named = {**named, signature.run: run}
    bound = signature.own.bind_partial()
    bound.arguments.update({name: named[name] for name in signature.own.parameters if name in named})
    return function(*bound.args, **bound.kwargs)
