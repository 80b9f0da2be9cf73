"""A digest by which equal requests are recognised."""

from __future__ import annotations

import hashlib

from starlette.requests import Request

__all__ = ["fingerprint_of"]


async def fingerprint_of(request: Request) -> str:
    """SHA-256 of method, path and body. Empty, and so never equal to another, if the body was consumed and not kept."""
    try:
        body = await request.body()
    except RuntimeError:
        return ""
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    return hashlib.sha256(b"\0".join((request.method.encode(), path, body))).hexdigest()
