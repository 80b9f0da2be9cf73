"""What equal requests have in common."""

from __future__ import annotations

import hashlib

from starlette.requests import Request

__all__ = ["fingerprint_of"]


async def fingerprint_of(request: Request) -> str:
    """SHA-256 of method, path and body; empty, so never equal to another, for a body that was consumed unkept."""
    try:
        body = await request.body()
    except RuntimeError:
        return ""
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    return hashlib.sha256(b"\0".join((request.method.encode(), path, body))).hexdigest()
