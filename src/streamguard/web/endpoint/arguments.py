"""From the arguments that a framework calls an endpoint with to the endpoint's own, and back."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from ...errors import ConfigurationError
from ...facts import facts
from .run import Run
from .signature import EndpointKind, EndpointSignature

__all__ = ["EndpointArguments", "bind_arguments", "call_endpoint"]


@facts
class EndpointArguments:
    """What one request calls an endpoint with."""

    named: Mapping[str, object]
    """The endpoint's own arguments by name, without its `Run`; and the framework's request as `request`, unless an
    argument of its own has that name."""
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
    keywords, framework = dict(kwargs), signature.framework
    args, request, injected = framework.take_hidden(args, keywords, own_request=signature.request is not None)
    if not args and keywords.keys() == signature.names:  # as FastAPI calls every endpoint: there is nothing to sort
        named = keywords
    elif not keywords and signature.in_order is not None and len(args) == len(signature.in_order):
        named = dict(zip(signature.in_order, args, strict=True))  # as Starlette does
    else:
        try:
            bound = signature.given.bind(*args, **keywords)
        except TypeError as exc:
            raise ConfigurationError(f"{signature.name} was called with arguments it does not take: {exc}") from exc
        bound.apply_defaults()
        named = dict(bound.arguments)
    if signature.request is not None:
        request = named[signature.request]
    if signature.response is not None:
        injected = named[signature.response]
    connection = framework.starlette_request(request)
    if connection is None:
        raise ConfigurationError(
            f"{signature.name} was called without a request: register what @guard.stream returns, as "
            "@app.post(…) above @guard.stream(…) does"
        )
    named.setdefault("request", request)
    return EndpointArguments(named, connection, injected if isinstance(injected, Response) else None)


def call_endpoint(
    function: Callable[..., object], signature: EndpointSignature, named: Mapping[str, object], run: Run | None
) -> object:
    """Call the endpoint's function with its arguments and its `Run`, if it takes one. What it returns, or will return,
    is given in Starlette's terms."""
    if signature.run is not None:
        named = {**named, signature.run: run}
    positional = _values_of(signature.positional, named)
    if positional is None:
        bound = signature.own.bind_partial()
        bound.arguments.update({name: named[name] for name in signature.own.parameters if name in named})
        returned = function(*bound.args, **bound.kwargs)
    elif signature.by_name:
        returned = function(*positional, **{name: named[name] for name in signature.by_name if name in named})
    else:
        returned = function(*positional)
    if signature.kind in (EndpointKind.ASYNC_GENERATOR, EndpointKind.SYNC_GENERATOR):
        return returned
    if inspect.isawaitable(returned):
        return _awaited(returned, signature, named)
    return signature.framework.returned(returned, named)


def _values_of(names: tuple[str, ...] | None, named: Mapping[str, object]) -> list[object] | None:
    """The values of all these names; None if one has none."""
    if not names:
        return None if names is None else []
    try:
        return [named[name] for name in names]
    except KeyError:
        return None


async def _awaited(returning: Awaitable[object], signature: EndpointSignature, named: Mapping[str, object]) -> object:
    return signature.framework.returned(await returning, named)
