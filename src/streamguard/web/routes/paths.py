"""The routes, and which of them a request is for: by the raw path, where a `%2F` inside an id is no slash."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from starlette.types import Scope

from ...errors import FaultError
from ...faults import Fault, FaultCode

__all__ = [
    "RouteName",
    "RouteTarget",
    "decode_segment",
    "is_plain_prefix",
    "may_be_own",
    "raw_path_of",
    "target_of",
]


class RouteName(Enum):
    """Our routes: the path of each below the prefix, and its methods besides OPTIONS, which every route answers."""

    RESUME = "/{session}/stream", ("GET", "HEAD")
    STOP = "/{session}/stop", ("POST",)
    SESSION = "/{session}", ("GET", "HEAD", "DELETE")
    RAW = "/{session}/streams/{stream}/raw", ("GET", "HEAD")
    MESSAGES = "/{session}/messages", ("GET", "HEAD")
    LIVE = "/health/live", ("GET", "HEAD")
    READY = "/health/ready", ("GET", "HEAD")
    STREAMING = "/health/streaming", ("GET", "HEAD")

    def __init__(self, path: str, methods: tuple[str, ...]) -> None:
        self.path: str = path
        self.methods: tuple[str, ...] = methods


class RouteTarget(NamedTuple):
    """A route and the ids in its path: still percent-encoded, empty where the route has none."""

    route: RouteName
    session: str = ""
    stream: str = ""


_PLAIN_PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")
_METHODS: Final = frozenset(method for route in RouteName for method in route.methods)
_TAILS: Final = {
    method: tuple(route.path.rpartition("}")[2] for route in RouteName if method in route.methods)
    for method in _METHODS
}
"""How the paths of our routes end, by method: behind the last id."""
_HEALTH: Final = {"live": RouteName.LIVE, "ready": RouteName.READY, "streaming": RouteName.STREAMING}


def is_plain_prefix(prefix: object) -> bool:
    """Whether routes can be installed under it: as it is in a request's path, where other characters would be
    percent-encoded, and a client would resolve `..`."""
    return isinstance(prefix, str) and _PLAIN_PREFIX.fullmatch(prefix) is not None


def target_of(scope: Scope, prefix: str) -> RouteTarget | None:
    """The target of a request's path under `prefix`, which has no slash at its end and may be empty; None if the path
    is not ours."""
    begins = prefix + "/"
    if begins not in scope["path"] and "%" not in prefix:  # decoded, and below a mount: nearly every other path
        return None
    path = raw_path_of(scope)
    if not path.startswith(begins):
        return None
    match path[len(prefix) + 1 :].split("/"):
        case ["health", name] if name in _HEALTH:
            return RouteTarget(_HEALTH[name])
        case [session] if session:
            return RouteTarget(RouteName.SESSION, session)
        case [session, "stream"] if session:
            return RouteTarget(RouteName.RESUME, session)
        case [session, "stop"] if session:
            return RouteTarget(RouteName.STOP, session)
        case [session, "messages"] if session:
            return RouteTarget(RouteName.MESSAGES, session)
        case [session, "streams", stream, "raw"] if session and stream:
            return RouteTarget(RouteName.RAW, session, stream)
        case _:
            return None


def may_be_own(scope: Scope) -> bool:
    """Hot path: whether a request of this method and path could be for one of our routes, under whatever prefix. It
    looks at no route: an application may have hundreds. OPTIONS is left out."""
    path: str = scope["path"]
    return path.endswith(_TAILS.get(scope["method"], ()))


def raw_path_of(scope: Scope) -> str:
    """The percent-encoded path below the point where the application is mounted."""
    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    text = raw.decode("latin-1").partition("?")[0] if raw else quote(path, safe="/:@!$&'()*+,;=~-._")
    root: str = scope.get("root_path", "").rstrip("/")
    if not root or not (path == root or path.startswith(root + "/")):
        return text
    # By the number of segments, since the root may be percent-encoded in another way than the path.
    parts = text.split("/")
    return "/" + "/".join(parts[root.count("/") + 1 :])


def decode_segment(segment: str) -> str:
    """A path segment without its percent-encoding.

    Raises:
        FaultError: `session_invalid`, for what is not UTF-8.
    """
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as exc:
        raise FaultError(Fault.of(FaultCode.SESSION_INVALID)) from exc
