"""Why a guard is not running, if the scope of a request shows it."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from ..misuse import Misuse
from .exchange import exchange_of

__all__ = ["why_not_started"]

_TEST_CLIENT: Final = "testclient"
"""The client host of Starlette's `TestClient`."""
_ASGI_TRANSPORT: Final = ("127.0.0.1", 123)
"""The client address of `httpx.ASGITransport`: a port that no client has."""


def why_not_started(scope: Scope) -> Misuse | None:
    """The misuse that a request shows; None if it shows none."""
    client = tuple(scope.get("client") or ())
    if "app_root_path" in scope or exchange_of(scope).mounted:  # only mounts add this key
        return Misuse.NOT_STARTED_MOUNTED
    if client[:1] == (_TEST_CLIENT,):
        return Misuse.NOT_STARTED_TEST_CLIENT
    if client == _ASGI_TRANSPORT:
        return Misuse.NOT_STARTED_ASGI_TRANSPORT
    return None
