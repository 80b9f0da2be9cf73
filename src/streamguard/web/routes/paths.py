"""Which request is one of ours: by the raw path, because ids arrive percent-encoded and `%2F` must survive."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from starlette.types import Scope

from ...errors import FaultError
from ...faults import Fault, FaultCode

__all__ = ["RouteName", "Target", "decoded", "target_of"]


class RouteName(Enum):
    """Our routes, with the methods each has."""

    RESUME = ("GET", "HEAD")
    STOP = ("POST",)
    SESSION = ("GET", "HEAD", "DELETE")
    RAW = ("GET", "HEAD", "raw")
    MESSAGES = ("GET", "HEAD", "messages")
    LIVE = ("GET", "HEAD", "live")
    READY = ("GET", "HEAD", "ready")
    STREAMING = ("GET", "HEAD", "streaming")

    @property
    def path(self) -> str:
        """Below the prefix, for humans."""
        return _PATHS[self]

    @property
    def methods(self) -> tuple[str, ...]:
        """Upper-case names, besides OPTIONS, which every route answers."""
        return tuple(name for name in self.value if name.isupper())


class Target(NamedTuple):
    """A path of ours: `session` and `stream` still percent-encoded, empty where the route has none."""

    route: RouteName
    session: str = ""
    stream: str = ""


_PATHS: Final = {
    RouteName.RESUME: "/{session}/stream",
    RouteName.STOP: "/{session}/stop",
    RouteName.SESSION: "/{session}",
    RouteName.RAW: "/{session}/streams/{stream}/raw",
    RouteName.MESSAGES: "/{session}/messages",
    RouteName.LIVE: "/health/live",
    RouteName.READY: "/health/ready",
    RouteName.STREAMING: "/health/streaming",
}
_HEALTH: Final = {"live": RouteName.LIVE, "ready": RouteName.READY, "streaming": RouteName.STREAMING}


def target_of(scope: Scope, prefix: str) -> Target | None:
    """What the request's path means under `prefix` (no slash at its end; may be empty), or None if it is not ours."""
    path = _raw_path(scope)
    if not path.startswith(prefix + "/"):
        return None
    match path[len(prefix) + 1 :].split("/"):
        case ["health", name] if name in _HEALTH:
            return Target(_HEALTH[name])
        case [session] if session:
            return Target(RouteName.SESSION, session)
        case [session, "stream"] if session:
            return Target(RouteName.RESUME, session)
        case [session, "stop"] if session:
            return Target(RouteName.STOP, session)
        case [session, "messages"] if session:
            return Target(RouteName.MESSAGES, session)
        case [session, "streams", stream, "raw"] if session and stream:
            return Target(RouteName.RAW, session, stream)
        case _:
            return None


def _raw_path(scope: Scope) -> str:
    """The percent-encoded path below the mount point the application is at."""
    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    text = raw.decode("latin-1").partition("?")[0] if raw else quote(path, safe="/:@!$&'()*+,;=~-._")
    root: str = scope.get("root_path", "").rstrip("/")
    if not root or not (path == root or path.startswith(root + "/")):
        return text
    # As many segments as the root has: its own may be encoded in another way than the path's.
    parts = text.split("/")
    return "/" + "/".join(parts[root.count("/") + 1 :])


def decoded(segment: str) -> str:
    """A path segment as the client meant it.

    Raises:
        FaultError: `session_invalid`, for what is not UTF-8.
    """
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as exc:
        raise FaultError(Fault.of(FaultCode.SESSION_INVALID)) from exc
