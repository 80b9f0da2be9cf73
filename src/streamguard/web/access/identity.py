"""The owner of a request, in one form for every kind of `authenticate`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import CoroutineType
from typing import Self

from starlette.requests import HTTPConnection

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...values import MAX_OWNER_BYTES, is_id
from ..misuse import Misuse

__all__ = ["Authenticate", "Identity", "identify"]


class Identity(str):
    """An owner's name, and a cookie that makes the client the same owner next time.

    It is a `str`, so that an `authenticate` of your own may return what `anonymous` returned. `Identity(owner)` is a
    name alone; `set_cookie`, `is_anonymous`, `is_new` and `random_secret` say what its attributes of these names say.
    """

    __slots__ = ("is_anonymous", "is_new", "random_secret", "set_cookie")

    is_anonymous: bool
    """A visitor, known by a cookie of `Anonymous` alone."""
    is_new: bool
    """A visitor that came without such a cookie: nothing is stored for it yet."""
    random_secret: bool
    """The cookie is signed with a secret that only this process knows."""
    set_cookie: str | None
    """The value of a `Set-Cookie` header. Only the answers of guarded endpoints carry it, the routes' do not: a resume
    that races with a visitor's first message must not replace the cookie that the message just set."""

    def __new__(
        cls,
        owner: str,
        *,
        set_cookie: str | None = None,
        is_anonymous: bool = False,
        is_new: bool = False,
        random_secret: bool = False,
    ) -> Self:
        identity = super().__new__(cls, owner)
        identity.set_cookie = set_cookie
        identity.is_anonymous = is_anonymous
        identity.is_new = is_new
        identity.random_secret = random_secret
        return identity


Authenticate = Callable[[HTTPConnection], str | Awaitable[str | None] | None]
"""Returns the owner (user, tenant, organisation) of a request, or None: 401. Sync (then it must not block) or async.
Called on every route but health."""


async def identify(authenticate: Authenticate, connection: HTTPConnection) -> Identity | None:
    """The owner of a request. None if there is none, or the name is empty.

    Raises:
        ConfigurationError: `authenticate` gave neither a `str` nor None.
        FaultError: `unauthenticated`, reason `owner_invalid`: no store can hold such a name (see `is_id`), which may
            have at most `MAX_OWNER_BYTES`.
    """
    answer = authenticate(connection)
    owner = await answer if isinstance(answer, CoroutineType) or inspect.isawaitable(answer) else answer
    if owner is None or owner == "":
        return None
    if not isinstance(owner, str):
        raise Misuse.AUTHENTICATE_RESULT.error(given=type(owner).__name__, remedy="convert ids with str()")
    if not is_id(owner, max_bytes=MAX_OWNER_BYTES):
        raise FaultError(Fault.of(FaultCode.UNAUTHENTICATED, reason="owner_invalid"))
    return owner if isinstance(owner, Identity) else Identity(owner)
