"""TLS contexts that a process of the tests makes without reading the certificates of every known authority."""

from __future__ import annotations

import ssl
from functools import cache

import httpx
import pytest

__all__ = ["share_tls_contexts"]


def share_tls_contexts(patch: pytest.MonkeyPatch) -> None:
    """Until `patch` is undone, clients of httpx with the same settings share a context, and one that Python makes, as
    the store does for a Redis behind TLS, knows no authority but those that are named to it.

    Each context reads the certificates of every known authority, 15 ms of CPU, even if the client never speaks TLS;
    `httpx.get` makes a client, and tests ask with it again and again. In tests the authorities never change, and the
    servers have certificates of the tests' own authority.
    """
    patch.setattr(ssl.SSLContext, "load_default_certs", lambda self, purpose=ssl.Purpose.SERVER_AUTH: None)
    patch.setattr("httpx._transports.default.create_ssl_context", cache(httpx.create_ssl_context))
