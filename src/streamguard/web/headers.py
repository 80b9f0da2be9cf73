"""The headers of our responses: ids, content type, caching, and which of them a browser's script may read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import chain
from typing import Final, cast
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import Scope

from ..errors import ConfigurationError
from ..random_ids import random_hex

__all__ = [
    "EXPOSED",
    "EXPOSE_NAME",
    "RawHeaders",
    "add_headers",
    "expose",
    "header_names",
    "header_of",
    "header_value",
    "id_headers",
    "media_type_of",
    "merge_headers",
    "plain_lines",
    "request_id_of",
    "stream_headers",
    "with_encodings",
    "without_encodings",
]

RawHeaders = list[tuple[bytes, bytes]]
"""Header lines as ASGI has them: lower-case names, latin-1 bytes."""

_BytesLike = bytes | bytearray | memoryview

EXPOSED: Final = (
    "X-Request-Id",
    "X-Session-Id",
    "X-Stream-Id",
    "X-Message-Id",
    "X-Resume-Reason",
    "X-Streamguard-Notice",
    "Retry-After",
)
_EXPOSE_VALUE: Final = ", ".join(EXPOSED).encode()
EXPOSE_NAME: Final = b"access-control-expose-headers"

_CHARSET: Final = b"; charset=utf-8"
_NAMES_CHARSET: Final = re.compile(rb";\s*charset\s*=", re.IGNORECASE)
_EVENT_STREAM: Final = re.compile(rb"\s*text/event-stream\s*(;|\Z)", re.IGNORECASE)

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
"""Headers that say how the body of a host's own response is framed: they do not hold for a stream."""

_NEVER_HOSTS: Final = _FRAMING | {b"x-session-id", b"x-stream-id", b"x-message-id"}
_TOGETHER: Final = frozenset({b"set-cookie", EXPOSE_NAME})
"""Headers of which an answer has both the host's and ours."""

_TUPLE: Final = {tuple}
_TWO: Final = {2}
_ALL_BYTES: Final = {bytes}

_SANE_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~:+/=@-]{1,128}")
_PLAIN: Final = re.compile(r"[!-$&-~]*")
_PLAIN_IDS: Final = re.compile(r"[!-$&-~]+ [!-$&-~]+ [!-$&-~]+")
"""Three such texts; a space is none of their characters."""
_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


def header_names(scope: Scope) -> Collection[bytes]:
    """The names of a request's headers, lower-case.

    A request is asked for eight headers, of which nearly none has one. Starlette's `Headers` takes six calls to say so.
    """
    return dict(scope["headers"])


def without_encodings(headers: RawHeaders) -> RawHeaders:
    """A request's header lines without those that say which encodings its client takes; the very same if there are
    none."""
    if b"accept-encoding" not in dict(headers):
        return headers
    return [line for line in headers if line[0] != b"accept-encoding"]


def with_encodings(headers: RawHeaders, given: RawHeaders) -> RawHeaders:
    """A request's header lines with the encodings that were taken out of `given`; the very same as given, if nobody has
    changed others meanwhile."""
    if headers == without_encodings(given):
        return given
    return [*without_encodings(headers), *(line for line in given if line[0] == b"accept-encoding")]


def header_of(scope: Scope, name: bytes) -> str | None:
    """The first of a request's headers with that name, which is lower-case; None if there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


def request_id_of(incoming: str | None) -> str:
    """The client's `X-Request-Id` if it is short and harmless, else a fresh one: `req_` and 24 hex digits."""
    if incoming is not None and _SANE_REQUEST_ID.fullmatch(incoming):
        return incoming
    return f"req_{random_hex()}"


def header_value(text: str) -> bytes:
    """Printable ASCII as it is; anything else percent-encoded as UTF-8, `%` included, so that decoding is exact."""
    return text.encode() if _PLAIN.fullmatch(text) else quote(text, safe=_SAFE).encode()


def id_headers(
    *, request_id: str, session_id: str | None = None, stream_id: str | None = None, message_id: str | None = None
) -> RawHeaders:
    """The ids of a response, always in the same order, and the permission to read them across origins."""
    if session_id and stream_id and message_id and _PLAIN_IDS.fullmatch(f"{session_id} {stream_id} {message_id}"):
        return [  # nearly every answer that has them all
            (b"x-request-id", request_id.encode()),
            (b"x-session-id", session_id.encode()),
            (b"x-stream-id", stream_id.encode()),
            (b"x-message-id", message_id.encode()),
            (EXPOSE_NAME, _EXPOSE_VALUE),
        ]
    headers: RawHeaders = [(b"x-request-id", request_id.encode())]
    for name, value in ((b"x-session-id", session_id), (b"x-stream-id", stream_id), (b"x-message-id", message_id)):
        if value is not None:
            headers.append((name, header_value(value)))
    headers.append((EXPOSE_NAME, _EXPOSE_VALUE))
    return headers


def stream_headers(
    media_type: str, protocol_headers: dict[str, str], *, content_type: bytes | None = None
) -> RawHeaders:
    """The headers of every SSE response besides its ids: no cache, proxy or compressor may hold it back. A
    `content_type` of the host's stands in place of ours, and gets the charset that it lacks.

    SSE is always UTF-8, but a client that reads the media type alone (`requests`) decodes text without a charset as
    Latin-1.
    """
    ours, *others = _stream_headers(media_type, tuple(protocol_headers.items()))
    return [ours if content_type is None else (b"content-type", _with_charset(content_type)), *others]


@lru_cache(maxsize=64)
def _stream_headers(media_type: str, protocol_headers: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"content-type", media_type.encode() + _CHARSET),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
        *((name.lower().encode(), value.encode()) for name, value in protocol_headers),
    )


def expose(headers: RawHeaders) -> RawHeaders:
    """Our names added to the host's `Access-Control-Expose-Headers`, since its CORS middleware replaces the header."""
    lines = [value for name, value in headers if name == EXPOSE_NAME]
    if lines in ([_EXPOSE_VALUE], [b"*"]):
        return headers
    named = [part.strip() for line in lines for part in line.decode("latin-1").split(",")]
    known = {name.lower() for name in named}
    value = ", ".join([*filter(None, named), *(name for name in EXPOSED if name.lower() not in known)])
    return [line for line in headers if line[0] != EXPOSE_NAME] + [(EXPOSE_NAME, value.encode("latin-1"))]


def plain_lines(headers: Iterable[tuple[_BytesLike, _BytesLike]]) -> RawHeaders:
    """A host's header lines as ASGI has them. Servers take lists for lines, and what is like bytes for bytes, too.

    Raises:
        ConfigurationError: one is of something else, such as text or a number, which no server takes.
    """
    lines = [*headers]  # they may be there for once
    if {*map(type, lines)} == _TUPLE and {*map(len, lines)} == _TWO and {*map(type, chain(*lines))} == _ALL_BYTES:
        return cast("RawHeaders", lines)  # nearly always, and found without a step for each line
    try:
        return [(_bytes(name), _bytes(value)) for name, value in lines]
    except TypeError as exc:
        raise _not_bytes(lines) from exc


def _bytes(part: _BytesLike) -> bytes:
    return part if type(part) is bytes else bytes(memoryview(part))  # `bytes` alone would take a number for a length


def _not_bytes(headers: Iterable[tuple[object, object]]) -> ConfigurationError:
    told = [
        f"{name!r} is ({type(name).__name__}, {type(value).__name__})"
        for name, value in headers
        if not (isinstance(name, _BytesLike) and isinstance(value, _BytesLike))
    ]
    return ConfigurationError(
        f"a header line of a response is two bytes in ASGI, its name and its value, but {', '.join(told)}: encode "
        "both as latin-1 where it is added, in the endpoint's raw_headers or in a middleware's send"
    )


def media_type_of(headers: Headers) -> str:
    """The media type of a response, without parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def merge_headers(ours: RawHeaders, hosts: RawHeaders) -> RawHeaders:
    """The host's headers, and then ours, which win."""
    taken = {*dict(ours), *_FRAMING}
    taken.discard(b"set-cookie")
    return [line for line in hosts if line[0] not in taken] + ours


def add_headers(ours: RawHeaders, hosts: RawHeaders) -> RawHeaders:
    """The host's headers as they are, without those of its framing, and ours where it has none. The ids of a stream
    are always ours. All names are in lower case."""
    given = dict(hosts)
    kept = hosts if _NEVER_HOSTS.isdisjoint(given) else [line for line in hosts if line[0] not in _NEVER_HOSTS]
    taken = given.keys() - _TOGETHER - _NEVER_HOSTS
    headers = kept + [line for line in ours if line[0] not in taken]
    return expose(headers) if EXPOSE_NAME in given else headers


@lru_cache(maxsize=64)
def _with_charset(content_type: bytes) -> bytes:
    if _EVENT_STREAM.match(content_type) and not _NAMES_CHARSET.search(content_type):
        return content_type + _CHARSET
    return content_type
