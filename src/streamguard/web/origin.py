"""Whether another site's page is behind a request that changes something."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from ..errors import FaultError
from ..faults import Fault, FaultCode

__all__ = ["check_origin"]


def check_origin(connection: HTTPConnection, allowed: Collection[str]) -> None:
    """Refuse what a foreign page could have a browser send with its user's cookies, or its stored Basic credentials.

    A request without `Origin` does not come from a page's script or form: browsers add it to every POST and DELETE.
    `Host` is compared without the scheme, since a proxy may have ended TLS; but a plain page may not act on an
    encrypted site.

    Raises:
        FaultError: `forbidden_origin`.
    """
    headers = connection.headers
    origin = headers.get("origin")
    ambient = "cookie" in headers or headers.get("authorization", "").lower().startswith("basic ")
    if origin is None or not ambient or origin in allowed:
        return
    try:
        page = urlsplit(origin)
        same_host = bool(page.netloc) and _with_port(page.netloc, page.scheme) == _with_port(
            headers.get("host", ""), page.scheme
        )
    except ValueError:
        same_host = False
    downgraded = connection.scope.get("scheme") == "https" and not origin.startswith("https://")
    if not same_host or downgraded:
        raise FaultError(Fault.of(FaultCode.FORBIDDEN_ORIGIN))


def _with_port(netloc: str, scheme: str) -> str:
    """`host:port` in lower case, with the scheme's own port where none is written."""
    host = netloc.lower()
    if host.rpartition(":")[2].isdigit():
        return host
    return f"{host}:{443 if scheme == 'https' else 80}"
