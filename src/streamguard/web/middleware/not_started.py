"""Why a guard is not running, as far as the scope of a request shows it."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from ..misuse import Misuse
from .exchange import exchange_of

__all__ = ["not_started_in"]

_TEST_CLIENT: Final = "testclient"
"""How Starlette's `TestClient` calls its host."""
_ASGI_TRANSPORT: Final = ("127.0.0.1", 123)
"""What `httpx.ASGITransport` gives for its address: a port that no client has."""


def not_started_in(scope: Scope) -> Misuse | None:
    """The misuse that a request tells of; None where it tells nothing."""
    client = tuple(scope.get("client") or ())
    if "app_root_path" in scope or exchange_of(scope).mounted:  # only mounts add the first
        return Misuse.NOT_STARTED_MOUNTED
    if client[:1] == (_TEST_CLIENT,):
        return Misuse.NOT_STARTED_TEST_CLIENT
    if client == _ASGI_TRANSPORT:
        return Misuse.NOT_STARTED_ASGI_TRANSPORT
    return None
