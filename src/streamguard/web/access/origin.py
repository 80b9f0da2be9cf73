"""Refuses requests that another site's page made a browser send, if they change something."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ..headers import header_of

__all__ = ["SAFE_METHODS", "ForbiddenOriginError", "check_origin"]

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that another site's page may use: they change nothing."""
_SHOWN_CHARACTERS: Final = 200
"""How much of a refused origin a fault shows."""


class ForbiddenOriginError(FaultError):
    """A page of `origin` may not make this request. `origin` is safe to show: printable ASCII, and short."""

    def __init__(self, origin: str) -> None:
        self.origin: str = _shown(origin)
        super().__init__(
            Fault.of(
                FaultCode.FORBIDDEN_ORIGIN,
                message=f"A page of {self.origin} may not make that request, unless cors_origins lists that origin.",
                reason="cors_origins",
            )
        )


def check_origin(connection: HTTPConnection, allowed: Collection[str]) -> None:
    """Refuse a request that another site's page could make a browser send with the user's cookies, or with stored Basic
    credentials.

    These pass, since no other site's page can have sent them unasked:

    - A request without `Origin`: browsers add it to every POST and DELETE of a page's script or form.
    - A request with `Sec-Fetch-Site: same-origin`, which only a browser can set. Not with `none`: no page can send
      that, but another sender (an extension, for example) is not the page that the user is on.
    - A request whose `Origin` is its `Host`, or its `X-Forwarded-Host` where a proxy rewrites `Host`: a page cannot set
      that header without a preflight. Compared without the scheme, since a proxy may have ended TLS; but an
      unencrypted page may not act on an encrypted site.
    - A request from one of `allowed`.

    Raises:
        ForbiddenOriginError: every other request.
    """
    origin = header_of(connection.scope, b"origin")
    if origin is None:
        return
    headers = connection.headers
    ambient = "cookie" in headers or headers.get("authorization", "").lower().startswith("basic ")
    if not ambient or origin in allowed or headers.get("sec-fetch-site") == "same-origin":
        return
    downgraded = connection.scope.get("scheme") == "https" and not origin.startswith("https://")
    if downgraded or not _is_this_site(origin, _hosts(connection)):
        raise ForbiddenOriginError(origin)


def _hosts(connection: HTTPConnection) -> list[str]:
    """The host names under which the request reached this site: each proxy adds one."""
    forwarded = ",".join(connection.headers.getlist("x-forwarded-host")).split(",")
    return [host for host in (connection.headers.get("host", ""), *map(str.strip, forwarded)) if host]


def _is_this_site(origin: str, hosts: list[str]) -> bool:
    try:
        page = urlsplit(origin)
        if not page.netloc:
            return False
        known = {_with_port(host, page.scheme) for host in hosts}
        return _with_port(page.netloc, page.scheme) in known
    except ValueError:
        return False


def _with_port(netloc: str, scheme: str) -> str:
    """`host:port` in lower case, with the scheme's own port where none is written."""
    host = netloc.lower()
    if host.rpartition(":")[2].isdigit():
        return host
    return f"{host}:{443 if scheme == 'https' else 80}"


def _shown(origin: str) -> str:
    """The part of a refused `Origin` that is safe to show: a real one is ASCII without spaces or quotes."""
    text = "".join(char if "!" <= char <= "~" and char not in "\"'<>\\`" else "?" for char in origin)
    return text[:_SHOWN_CHARACTERS] or "?"
