"""A guard that keeps messages, an application with one endpoint of it, and what was kept."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from streamguard import Settings, StreamGuard
from streamguard.values import SessionKey
from tests.runtime.savers import Messages, stored_in

from ..serving import user_of

__all__ = ["KEY", "app_of", "ids_of", "keeping"]

KEY = SessionKey("ann", "s")


def keeping(messages: Messages, **settings: object) -> StreamGuard:
    return StreamGuard(authenticate=user_of, messages=messages, settings=Settings.model_validate(settings))


def app_of(endpoint: object) -> Starlette:
    return Starlette(routes=[Route("/chat", endpoint, methods=["POST"])])  # type: ignore[arg-type]


async def ids_of(messages: Messages, key: SessionKey = KEY) -> list[str]:
    return [stored.message.message_id for stored in await stored_in(messages, key)]
