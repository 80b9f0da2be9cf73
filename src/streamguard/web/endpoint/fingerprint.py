"""A digest by which equal requests are recognised."""

from __future__ import annotations

import hashlib
from typing import Final

from starlette.requests import Request

from ..response.view_options import IDS_ASKED

__all__ = ["fingerprint_of", "path_and_query_of"]

_HOW_TO_READ: Final = frozenset(f"ids={value}".encode() for value in IDS_ASKED)
"""Parts of the query that say, with `cursor`, how the answer is read, not what is asked: a retry may have others."""


async def fingerprint_of(request: Request) -> str:
    """SHA-256 of method, path, query and body. Empty, and so never equal to another, if the body was consumed and not
    kept."""
    try:
        body = await request.body()
    except RuntimeError:
        return ""
    return hashlib.sha256(b"\0".join((request.method.encode(), path_and_query_of(request), body))).hexdigest()


def path_and_query_of(request: Request) -> bytes:
    """As they were sent, without the parameters that say how the answer is read."""
    path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    pairs = request.scope.get("query_string", b"").split(b"&")
    asked = [pair for pair in pairs if pair and pair not in _HOW_TO_READ and not pair.startswith(b"cursor=")]
    return b"?".join((path, b"&".join(asked))) if asked else path
