"""Misuses of `StreamGuardMiddleware` and its rules."""

from __future__ import annotations

from typing import Any, Final

from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.quota import Quota
from streamguard.web.misuse import Misuse

from ..serving import make_guard
from .sites import asked, named, row, said, said_when, told, visiting

__all__: list[str] = []

PATH: Final = "/v1/chat"


class Nobody(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> None:
        return None


async def answering(request: Request) -> Response:
    return StreamingResponse(iter([b"data: word\n\n"]), media_type="text/event-stream")


async def compressing(request: Request) -> Response:
    headers = {"content-encoding": "br"}
    return StreamingResponse(iter([b"zip"]), media_type="text/event-stream", headers=headers)


def guarding(guard: StreamGuard, *inside: Middleware, endpoint: Any = answering, **options: Any) -> Starlette:
    """An application with a rule, and with middlewares inside the one that has it."""
    rules = [StreamRule(PATH, **options)]
    return Starlette(
        routes=[Route(PATH, endpoint, methods=["POST"])],
        middleware=[Middleware(StreamGuardMiddleware, guard=guard, rules=rules), *inside],
        lifespan=guard.lifespan,
    )


def decorated_at(guard: StreamGuard, path: str) -> Route:
    @guard.stream(protocol="opaque")
    @named
    async def chat(request: Request) -> StreamingResponse:
        return StreamingResponse(iter([b"data: word\n\n"]), media_type="text/event-stream")

    return Route(path, chat, methods=["POST"], name="chat")


@row(Misuse.GUARDED_TWICE)
async def a_decorated_endpoint_below_a_rule() -> str:
    guard = make_guard()
    app = Starlette(routes=[decorated_at(guard, PATH)])
    StreamGuardMiddleware(app, guard=guard, rules=[StreamRule(PATH)])
    return await said_when(guard.__aenter__())


@row(
    Misuse.GUARDED_TWICE,
    "POST /v1/{name} (chat) is guarded already, and StreamRule('/v1/*') of a StreamGuardMiddleware around it would "
    "guard its answers a second time: take @guard.stream off, or narrow the rule with its path or when=…",
)
async def a_mounted_one_below_a_pattern() -> str:
    guard = make_guard()
    app = Starlette(routes=[Mount("/v1", routes=[decorated_at(guard, "/{name}")])])
    StreamGuardMiddleware(app, guard=guard, rules=[StreamRule("/v1/*")])
    return await said_when(guard.__aenter__())


@row(
    Misuse.GUARDED_TWICE,
    "app:chat is guarded already, and StreamRule('/v1/chat') of a StreamGuardMiddleware around it would guard its "
    "answers a second time: take @guard.stream off, or narrow the rule with its path or when=…",
)
async def one_that_only_a_request_shows() -> str:
    guard = make_guard()
    app = Starlette(routes=[decorated_at(guard, PATH)])
    wrapped = StreamGuardMiddleware(app, guard=guard, rules=[StreamRule(PATH, when=lambda request: True)])
    async with guard:
        return await said_when(asked(wrapped, PATH))


@row(
    Misuse.GUARDED_TWICE,
    "StreamRule('/v1/*') is guarded already, and StreamRule('/v1/chat') of a StreamGuardMiddleware around it would "
    "guard its answers a second time: take @guard.stream off, or narrow the rule with its path or when=…",
)
async def two_middlewares_with_rules_for_it() -> str:
    guard = make_guard()
    inner = StreamGuardMiddleware(Starlette(), guard=guard, rules=[StreamRule("/v1/*")])
    outer = StreamGuardMiddleware(inner, guard=guard, rules=[StreamRule(PATH)])
    async with guard:
        return await said_when(asked(outer, PATH))


@row(Misuse.RULE_COMPRESSED)
async def a_stream_that_is_compressed_all_the_same() -> str:
    guard = make_guard()
    app = guarding(guard, endpoint=compressing)
    async with guard:
        return await said_when(asked(app, PATH))


@row(Misuse.RULES_LATE)
async def a_rule_with_a_quota_after_the_start() -> str:
    guard = make_guard()
    async with guard:
        rules = [StreamRule(PATH, quota=Quota(limit=1, per="day", unit="requests"))]
        return said(lambda: StreamGuardMiddleware(Starlette(), guard=guard, rules=rules))


@row(Misuse.RULES_OUTSIDE)
async def a_session_that_is_inside() -> str:
    async def owner(connection: HTTPConnection) -> str | None:
        return str(connection.session.get("user"))

    guard = StreamGuard(authenticate=owner)
    app = guarding(guard, Middleware(SessionMiddleware, secret_key="secret"))
    app.build_middleware_stack()
    return await said_when(guard.__aenter__())


@row(
    Misuse.RULES_OUTSIDE,
    "authenticate=owner reads connection.user, which AuthenticationMiddleware provides, but StreamGuardMiddleware is "
    "outside of it: call app.add_middleware(StreamGuardMiddleware, …) before "
    "app.add_middleware(AuthenticationMiddleware, …), since the middleware that is added last is outermost",
)
async def a_user_that_is_inside() -> str:
    def owner(connection: HTTPConnection) -> str | None:
        return str(connection.user.display_name)

    guard = StreamGuard(authenticate=owner)
    app = Starlette(middleware=[Middleware(AuthenticationMiddleware, backend=Nobody())])
    StreamGuardMiddleware(app, guard=guard, rules=[StreamRule(PATH)])
    return await said_when(guard.__aenter__())


@row(Misuse.RULES_OUTSIDE_CORS)
async def cors_that_is_inside() -> str:
    guard = make_guard()
    app = guarding(guard, Middleware(CORSMiddleware, allow_origins=["https://chat.example"]))
    guard.install(app, "/api/chat")
    async with visiting(app, guard) as chat:
        (warning,) = told(chat.observations)
    return warning
