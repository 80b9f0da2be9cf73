"""The path of a rule: `/v1/chat/completions`, `/v1/*`, `/threads/{thread}/runs`."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import Scope

from ...errors import ConfigurationError

__all__ = ["PathPattern", "path_below_mount"]

_SEGMENT: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}|\*|[^*{}?#]*")
"""One segment of a pattern: a parameter, any text, or the text itself."""


class PathPattern:
    """Matches the decoded path of a request, below the point where the application is mounted.

    A segment `{name}` is a parameter: one segment of any text. `*` is any one segment too, and as the last segment
    everything from there on, slashes included. All else matches itself, upper and lower case apart.

    Raises:
        ConfigurationError: this is no such path.
    """

    __slots__ = ("_match", "exact", "expression", "parameters", "text")

    def __init__(self, text: object) -> None:
        if not isinstance(text, str) or not text.startswith("/"):
            raise _invalid(text, "begin it with a slash, as in '/v1/chat/completions'")
        segments = text[1:].split("/")
        found = [_SEGMENT.fullmatch(segment) for segment in segments]
        if any(match is None for match in found):
            raise _invalid(text, "a segment is a name, '{name}' for a parameter, or '*' for anything")
        names = [match[1] for match in found if match is not None and match[1] is not None]
        if len(set(names)) < len(names):
            raise _invalid(text, "each parameter needs a name of its own")
        self.text: str = text
        self.parameters: frozenset[str] = frozenset(names)
        self.exact: bool = not names and "*" not in segments
        """Whether it is exactly one path."""
        parts = [_expression(segment, last=n == len(segments) - 1) for n, segment in enumerate(segments)]
        self.expression: str = "/" + "/".join(parts)
        """As a regular expression for `re.DOTALL`."""
        self._match = re.compile(self.expression, re.DOTALL).fullmatch

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters of a path that matches; None for any other path."""
        found = self._match(path)
        return None if found is None else found.groupdict()


def _expression(segment: str, *, last: bool) -> str:
    if segment == "*":
        return ".*" if last else "[^/]+"
    if segment.startswith("{"):
        return f"(?P<{segment[1:-1]}>[^/]+)"
    return re.escape(segment)


def _invalid(text: object, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"StreamRule({text!r}): this path can match no request: {remedy}")


def path_below_mount(scope: Scope) -> str:
    """The path of a request, without the path that the application is mounted under (`root_path`)."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if not root:
        return path
    if path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :] or "/"
    return path
