"""One TLS context for all clients of httpx that a process of the tests makes."""

from __future__ import annotations

from functools import cache

import httpx
import pytest

__all__ = ["share_tls_contexts"]


def share_tls_contexts(patch: pytest.MonkeyPatch) -> None:
    """Until `patch` is undone, clients with the same settings share a context.

    Each context reads the certificates of every known authority, 15 ms of CPU, even if the client never speaks TLS;
    `httpx.get` makes a client, and tests ask with it again and again. In tests the authorities never change.
    """
    patch.setattr("httpx._transports.default.create_ssl_context", cache(httpx.create_ssl_context))
