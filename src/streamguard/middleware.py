"""`StreamGuardMiddleware`: guards the streams of endpoints that stay as they are."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import ConfigurationError
from .guard import StreamGuard
from .web.application.guarded_endpoint import Guarded
from .web.middleware.exchange import EXCHANGE
from .web.middleware.outermost_layer import OutermostLayer
from .web.rules.stream_rule import StreamRule

__all__ = ["StreamGuardMiddleware"]


class StreamGuardMiddleware:
    """An ASGI middleware that guards the streams which the application inside answers with.

    `app.add_middleware(StreamGuardMiddleware, guard=guard, rules=[…])`, or around any ASGI application:
    `app = StreamGuardMiddleware(app, guard=guard, rules=[…])`. The first rule that matches a request decides.

    For such a request the application runs in the guard's runtime, detached from the client's connection: it sees no
    disconnect. A stream that it answers with is logged block by block, byte for byte, and the client reads it from the
    log. Status and headers stay the application's, and the guard's are added. Every other response passes as it is, and
    so do all other requests, the lifespan and websockets.

    Args:
        app: the application inside.
        guard: what guards the streams. It is started with the application's lifespan, not by the middleware.
        rules: which requests are guarded, and how.

    Raises:
        ConfigurationError: a rule can never work under this guard.
    """

    def __init__(self, app: ASGIApp, *, guard: StreamGuard, rules: Iterable[StreamRule]) -> None:
        if not isinstance(guard, StreamGuard):
            raise ConfigurationError(f"guard of StreamGuardMiddleware is a StreamGuard, not {type(guard).__name__}")
        given: object = [rules] if isinstance(rules, StreamRule) else rules
        if not isinstance(given, Iterable):
            raise ConfigurationError(f"rules of StreamGuardMiddleware is a list of StreamRule, not {given!r:.80}")
        given = list(given)
        for rule in given:
            if not isinstance(rule, StreamRule):
                raise ConfigurationError(
                    f"rules of StreamGuardMiddleware are StreamRule objects, not {type(rule).__name__}: write "
                    "rules=[StreamRule('/v1/chat/completions')]"
                )
        if not given:
            raise ConfigurationError("StreamGuardMiddleware without rules guards nothing: give rules=[StreamRule(…)]")
        self.app = app
        self._rules = guard.rule_table(given, app)
        self._layer = OutermostLayer(self, app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        candidates = self._rules.candidates(scope) if scope["type"] == "http" else ()
        if not candidates:
            await self.app(scope, receive, send)
        elif EXCHANGE in scope:
            await self._rules.answer(candidates, scope, receive, send)
        else:
            await self._layer(scope, receive, send)

    def rule_for(self, scope: Scope) -> Guarded | None:
        """The first rule that may match the request of `scope`, as far as its path and method tell; None if none does.
        For the guard's outermost layer, which is outside of this."""
        return self._rules.rule_for(scope)
