"""The decorator that `guard.stream(…)` returns. It makes an endpoint that a framework can register."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from typing import NoReturn, cast

from starlette.responses import Response

from ...errors import ConfigurationError
from ..application.guarded_endpoint import MARK
from ..endpoint_registry import DecoratedEndpoint
from ..guard_context import GuardContext
from ..misuse import Misuse
from .configuration import EndpointConfiguration
from .endpoint import GuardedEndpoint
from .framework import STARLETTE, Framework
from .options import StreamOptions
from .signature import EndpointSignature

__all__ = ["Endpoint", "EndpointDecorator"]

Endpoint = Callable[..., Awaitable[Response]]
"""What `@guard.stream` makes of an endpoint: a function that every Starlette-based framework can register."""


class EndpointDecorator:
    """Decorates one endpoint.

    `@guard.stream` without parentheses takes the endpoint for a selector, and leaves this object to the framework. So
    everything that frameworks do with an endpoint, register it or call it, raises an error that says what is wrong.

    Raises:
        ConfigurationError: when constructed, if an option can never work, or is itself an endpoint.
    """

    def __init__(self, context: GuardContext, options: StreamOptions, framework: Framework = STARLETTE) -> None:
        options.check()
        self._context = context
        self._options = options
        self._framework = framework
        if _is_endpoint(options.session):
            self._refuse()

    def __call__(self, endpoint: Callable[..., object], *more: object, **named: object) -> Endpoint:
        """Decorate an endpoint.

        Raises:
            ConfigurationError: something in it can never work; the text names the fix.
        """
        if more or named or not callable(endpoint):
            self._refuse()
        # Classes defined beside the endpoint inside a function are found through that function's variables.
        caller = sys._getframe(1)  # noqa: SLF001 -- the documented way; `inspect` has no cheaper one
        local_names = caller.f_locals if caller.f_locals is not caller.f_globals else {}
        framework = self._framework
        signature = EndpointSignature.read(endpoint, local_names, framework)
        configuration = EndpointConfiguration.of(self._context, endpoint, self._options, signature)
        guarded_endpoint = GuardedEndpoint(self._context, configuration)

        if type(framework).answer is Framework.answer:  # which changes nothing

            async def guarded(*args: object, **kwargs: object) -> Response:
                return await guarded_endpoint(args, kwargs)
        else:

            async def guarded(*args: object, **kwargs: object) -> Response:
                return cast("Response", framework.answer(await guarded_endpoint(args, kwargs)))

        configuration.signature.apply_to(guarded, endpoint)
        setattr(guarded, MARK, guarded_endpoint)
        self._context.endpoints.add_decorated(
            DecoratedEndpoint(endpoint, configuration.signature.name, guarded_endpoint)
        )
        return guarded

    def on(self, framework: Framework) -> EndpointDecorator:
        """The same decorator for endpoints of another framework."""
        return EndpointDecorator(self._context, self._options, framework)

    @property
    def __signature__(self) -> inspect.Signature:
        """Frameworks look at the signature of what they register: FastAPI, when it is declared."""
        return self._refuse()

    @property
    def __name__(self) -> str:
        """Frameworks also look at its name: Starlette's `Route`."""
        return self._refuse()

    def _refuse(self) -> NoReturn:
        session = self._options.session
        if not callable(session):
            raise Misuse.NOT_APPLIED.error(given="…" if session is None else f"session={session!r}")
        raise Misuse.NO_PARENTHESES.error(endpoint=getattr(session, "__qualname__", type(session).__name__))


def _is_endpoint(source: object) -> bool:
    """Whether a would-be selector is an endpoint: it yields, takes a `Run`, or returns a response."""
    if source is None or isinstance(source, str) or not callable(source):
        return False
    if inspect.isasyncgenfunction(source) or inspect.isgeneratorfunction(source):
        return True
    try:
        signature = EndpointSignature.read(source, {})
    except ConfigurationError:
        return False
    returns = typing.get_origin(signature.returns) or signature.returns
    answers = isinstance(returns, type) and issubclass(returns, (Response, AsyncIterable, Iterator))
    return signature.run is not None or answers
