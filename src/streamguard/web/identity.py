"""Who is asking. Hosts know their users; `Anonymous` is for those who have none."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, Self

from starlette.requests import HTTPConnection

from ..errors import ConfigurationError, FaultError
from ..faults import Fault, FaultCode
from ..model import MAX_OWNER_BYTES, is_id

__all__ = ["Anonymous", "Authenticate", "Identity", "anonymous", "identify"]

_ID: Final = re.compile(r"[0-9a-f]{32}")
_COOKIE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Identity(str):
    """An owner's name, and a cookie that lets the client be the same owner next time.

    It is a `str`, so that an `authenticate` of your own may pass on what `anonymous` gave it.
    """

    __slots__ = ("is_anonymous", "is_new", "set_cookie")

    is_anonymous: bool
    """A visitor whom only a cookie of `Anonymous` names."""
    is_new: bool
    """One that came without such a cookie: nothing can be stored for it yet."""
    set_cookie: str | None
    """The value of a `Set-Cookie` header. Guarded endpoints' answers carry it; the routes' never do, so that a resume
    that races with a visitor's first message cannot replace the cookie that message just set."""

    def __new__(
        cls, owner: str, *, set_cookie: str | None = None, is_anonymous: bool = False, is_new: bool = False
    ) -> Self:
        identity = super().__new__(cls, owner)
        identity.set_cookie = set_cookie
        identity.is_anonymous = is_anonymous
        identity.is_new = is_new
        return identity


Authenticate = Callable[[HTTPConnection], str | Awaitable[str | None] | None]
"""Names the owner (user, tenant, organisation) of a request, or None for nobody: 401. Sync (then it must not block)
or async. Called on every route but health."""


class Anonymous:
    """An `authenticate` for applications without users: a random owner per browser, in a signed cookie.

    Args:
        secret: signs the cookies; at least 16 characters, the same in every worker. Without one each process makes
            its own: every restart, and every other worker, then sees new visitors.
        cookie: the cookie's name.
        max_age_seconds: how long a browser keeps it.

    Raises:
        ConfigurationError: the secret is too short, or the name is not a cookie's.
    """

    def __init__(
        self, secret: str | None = None, *, cookie: str = "streamguard_owner", max_age_seconds: int = 31_536_000
    ) -> None:
        if secret is not None and len(secret) < 16:
            raise ConfigurationError("Anonymous(secret=…) needs at least 16 characters: `secrets.token_urlsafe()`")
        if _COOKIE_NAME.fullmatch(cookie) is None:
            raise ConfigurationError("a cookie's name is made of letters, digits, '-' and '_', at most 64 of them")
        self._secret = None if secret is None else secret.encode()
        self._cookie = cookie
        self._max_age_seconds = max_age_seconds
        self.random_secret: bool = secret is None
        """Whether the secret is this process's own."""

    async def __call__(self, connection: HTTPConnection) -> Identity:
        """The owner its cookie names, if our signature is on it; else a new one."""
        value = connection.cookies.get(self._cookie, "")
        visitor, _, signature = value.partition(".")
        if _ID.fullmatch(visitor) and hmac.compare_digest(signature.encode(), self._sign(visitor).encode()):
            return Identity(f"anonymous-{visitor}", is_anonymous=True)
        visitor = secrets.token_hex(16)
        secure = "; Secure" if connection.url.scheme in ("https", "wss") else ""
        return Identity(
            f"anonymous-{visitor}",
            is_anonymous=True,
            is_new=True,
            set_cookie=f"{self._cookie}={visitor}.{self._sign(visitor)}; Max-Age={self._max_age_seconds}; Path=/; "
            f"HttpOnly; SameSite=Lax{secure}",
        )

    def _sign(self, visitor: str) -> str:
        if self._secret is None:  # made late, so that processes forked from one do not share it by accident
            self._secret = secrets.token_bytes(32)
        message = f"{self._cookie}:{visitor}".encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


anonymous: Final = Anonymous()
"""`authenticate=anonymous`: visitors told apart by a signed cookie, with a secret of this process's own."""


async def identify(authenticate: Authenticate, connection: HTTPConnection) -> Identity | None:
    """Who is asking, in one shape. Nobody, if the name is empty.

    Raises:
        ConfigurationError: `authenticate` gave neither a `str` nor None.
        FaultError: `unauthenticated`, reason `owner_invalid`: no store can hold such a name (see `is_id`), which may
            have at most `MAX_OWNER_BYTES`.
    """
    answer = authenticate(connection)
    owner = await answer if inspect.isawaitable(answer) else answer
    if owner is None or owner == "":
        return None
    if not isinstance(owner, str):
        raise ConfigurationError(
            f"authenticate must give a str or None, not {type(owner).__name__}; convert ids with str()"
        )
    if not is_id(owner, max_bytes=MAX_OWNER_BYTES):
        raise FaultError(Fault.of(FaultCode.UNAUTHENTICATED, reason="owner_invalid"))
    return owner if isinstance(owner, Identity) else Identity(owner)
