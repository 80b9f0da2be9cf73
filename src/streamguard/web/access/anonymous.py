"""Owners for applications without users: a random one per browser, in a signed cookie."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from itsdangerous import BadData, TimestampSigner
from starlette.requests import HTTPConnection

from ...durations import check_duration
from ...errors import ConfigurationError
from .identity import Identity

__all__ = ["Anonymous", "anonymous"]

_ID: Final = re.compile(r"[0-9a-f]{32}")
_COOKIE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECRET_CHARACTERS: Final = 16


class _Visitor(NamedTuple):
    """The visitor that a cookie names."""

    name: str
    age_seconds: float
    """How long ago the cookie was signed."""
    by_first: bool
    """Whether the first secret signed it."""


class Anonymous:
    """An `authenticate` for applications without users: a random owner per browser, in a signed cookie.

    A cookie is valid for `max_age_seconds` after it was signed, also if the browser keeps it longer. A cookie that is
    older than half of that, or that was not signed with the first secret, is replaced with the visitor's next message.

    Args:
        secret: signs the cookies; at least 16 characters, the same in every worker. Of several, the first signs and all
            are accepted. To change the secret, put the new one before the old one, and remove the old one
            `max_age_seconds` later. Without a secret each process makes its own: after a restart every visitor is new,
            and a store that several workers share is refused.
        cookie: the cookie's name.
        max_age_seconds: how long a cookie names its visitor, in seconds.
        embedded: for pages in an iframe of another site: `SameSite=None; Secure; Partitioned`. A browser is then
            another visitor on each site that embeds the page. Browsers accept such a cookie only over HTTPS and from
            localhost.

    Raises:
        ConfigurationError: a secret is too short, the list of secrets is empty, the name is no cookie name, or the age
            is not positive.
    """

    def __init__(
        self,
        secret: str | Sequence[str] | None = None,
        *,
        cookie: str = "streamguard_owner",
        max_age_seconds: int = 31_536_000,
        embedded: bool = False,
    ) -> None:
        if _COOKIE_NAME.fullmatch(cookie) is None:
            raise ConfigurationError("a cookie's name is made of letters, digits, '-' and '_', at most 64 of them")
        check_duration("max_age_seconds", max_age_seconds)
        self._cookie = cookie
        self._max_age_seconds = max_age_seconds
        self._embedded = embedded
        self._signers = [] if secret is None else [self._signer(one) for one in _secrets(secret)]
        """One for each secret. The first signs."""
        self.random_secret: bool = secret is None
        """Whether the secret is a random one of this process."""

    async def __call__(self, connection: HTTPConnection) -> Identity:
        """The owner that the cookie names, if we signed it and it is not too old; else a new owner."""
        visitor = self._read(connection.cookies.get(self._cookie, ""))
        if visitor is None:
            return self._identity(secrets.token_hex(16), is_new=True, set_cookie_for=connection)
        renew = not visitor.by_first or visitor.age_seconds > self._max_age_seconds / 2
        return self._identity(visitor.name, is_new=False, set_cookie_for=connection if renew else None)

    def _identity(self, visitor: str, *, is_new: bool, set_cookie_for: HTTPConnection | None) -> Identity:
        return Identity(
            f"anonymous-{visitor}",
            is_anonymous=True,
            is_new=is_new,
            random_secret=self.random_secret,
            set_cookie=None if set_cookie_for is None else self._set_cookie(visitor, set_cookie_for),
        )

    def _set_cookie(self, visitor: str, connection: HTTPConnection) -> str:
        value = self._working_signers()[0].sign(visitor).decode()
        if self._embedded:
            where = "SameSite=None; Secure; Partitioned"
        else:
            where = "SameSite=Lax" + ("; Secure" if connection.url.scheme in ("https", "wss") else "")
        return f"{self._cookie}={value}; Max-Age={self._max_age_seconds}; Path=/; HttpOnly; {where}"

    def _read(self, value: str) -> _Visitor | None:
        """The visitor of a cookie that one of the secrets signed, not too long ago.

        The age is compared here: `unsign(max_age=…)` refuses a signature from the future, and another worker's clock
        may be ahead.
        """
        for number, signer in enumerate(self._working_signers()):
            try:
                signed, at = signer.unsign(value, return_timestamp=True)
            except BadData:
                continue
            name, age_seconds = signed.decode("latin-1"), time.time() - at.timestamp()
            if _ID.fullmatch(name) and age_seconds <= self._max_age_seconds:
                return _Visitor(name, age_seconds, number == 0)
        return None

    def _working_signers(self) -> list[TimestampSigner]:
        if not self._signers:  # made late, so that forked processes do not share it by accident
            self._signers = [self._signer(secrets.token_urlsafe(32))]
        return self._signers

    def _signer(self, secret: str) -> TimestampSigner:
        # The cookie's name is part of the key: a value signed for one cookie is invalid in another.
        return TimestampSigner(
            secret,
            salt=f"streamguard.anonymous.{self._cookie}",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )


def _secrets(given: object) -> list[str]:
    several = list(given) if isinstance(given, Sequence) and not isinstance(given, (str, bytes)) else [given]
    if not several:
        raise ConfigurationError("Anonymous(secret=[…]) needs at least one secret: the first signs, all are accepted")
    found = [one for one in several if isinstance(one, str) and len(one) >= _SECRET_CHARACTERS]
    if len(found) < len(several):
        raise ConfigurationError(
            f"Anonymous(secret=…) needs at least {_SECRET_CHARACTERS} characters: `secrets.token_urlsafe()`"
        )
    return found


anonymous: Final = Anonymous()
"""`authenticate=anonymous`: each browser is a visitor with a signed cookie, under a random secret of this process. For
`memory://`; a store that several workers share needs `Anonymous(secret)`."""
