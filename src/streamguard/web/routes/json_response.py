"""The routes' documents as JSON responses."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial

from starlette.responses import Response

from ...offloading import offloaded
from ...wire.large_json import is_large, json_pieces
from ...wire.values import MAX_DEPTH, encode_json, on_one_line
from ..headers import RawHeaders

__all__ = ["json_response", "large_json_response"]


def json_response(document: Mapping[str, object], status_code: int, headers: RawHeaders) -> Response:
    """A small document."""
    return _response(_encoded(document), status_code, headers)


async def large_json_response(document: Mapping[str, object], headers: RawHeaders) -> Response:
    """A document of any size: a large one is encoded in a thread."""

    def encoded() -> bytes:
        try:
            return b"".join([on_one_line(piece).encode() for piece in json_pieces(document)])
        except (TypeError, ValueError, RecursionError):
            return _encoded(document)

    large = is_large(document)
    return _response(await offloaded(encoded if large else partial(_encoded, document), large=large), 200, headers)


def _encoded(document: Mapping[str, object]) -> bytes:
    # A host's store may give values that JSON does not have. Each part of a message may be as deep as the limit.
    return encode_json(document, sys.maxsize, max_depth=2 * MAX_DEPTH).data


def _response(content: bytes, status_code: int, headers: RawHeaders) -> Response:
    response = Response(content, status_code=status_code, media_type="application/json")
    response.raw_headers.extend([(b"cache-control", b"no-store"), *headers])
    return response
