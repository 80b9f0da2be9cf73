"""What no rule is for reaches the application as the server gave it: the very same scope, `receive` and `send`."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from streamguard import StreamGuardMiddleware, StreamRule

from ..serving import make_guard, request_scope
from .inside import PATH

pytestmark = pytest.mark.anyio

SCOPES: dict[str, Scope] = {
    "another path": request_scope("/other"),
    "another method": request_scope(PATH, "GET"),
    "websocket": {**request_scope(PATH), "type": "websocket"},
    "lifespan": {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}},
    "an extension's": {"type": "other"},
}


@pytest.mark.parametrize("name", SCOPES)
async def test_it_gets_what_the_server_gave(name: str) -> None:
    got: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.extend((scope, receive, send))

    async def receive() -> Message:
        raise AssertionError("nobody asked")

    async def send(message: Message) -> None:
        raise AssertionError("nobody answered")

    scope = dict(SCOPES[name])
    middleware = StreamGuardMiddleware(app, guard=make_guard(), rules=[StreamRule(PATH)])
    await middleware(scope, receive, send)
    assert [id(one) for one in got] == [id(scope), id(receive), id(send)]
    assert scope == SCOPES[name]
