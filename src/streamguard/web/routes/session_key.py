"""Whose session the path of a request names."""

from __future__ import annotations

from typing import NamedTuple

from starlette.requests import Request

from ...values import SessionKey
from ..access.checked_ids import checked_session_id
from ..access.identity import Identity
from ..guard_context import GuardContext
from ..middleware.exchange import exchange_of
from ..response_ids import ResponseIds
from .paths import RouteTarget, decode_segment

__all__ = ["OwnedSession", "session_of"]


class OwnedSession(NamedTuple):
    """The session that a request is about, and who is asking."""

    key: SessionKey
    identity: Identity

    def __repr__(self) -> str:
        return f"OwnedSession({self.key!r})"


async def session_of(context: GuardContext, target: RouteTarget, request: Request, ids: ResponseIds) -> OwnedSession:
    """The session of a request. `ids` get its id.

    Raises:
        FaultError: `unauthenticated`, `limit_rate`, or `session_invalid`.
    """
    identity = await context.owner(request)
    ids.owner = str(identity)
    context.limits.check_call(identity, request)
    ids.session_id = checked_session_id(decode_segment(target.session))
    exchange_of(request.scope).headers = ids.headers()
    return OwnedSession(SessionKey(str(identity), ids.session_id), identity)
