"""Finds whose code an exception comes from: the host's, a library's, or ours. Pure."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

__all__ = ["Place", "described", "masked", "own_place", "raised_in", "traceback_of"]

_INSTALLED: Final = ("site-packages", "dist-packages")
_STANDARD: Final = tuple({str(Path(sysconfig.get_path(name))) for name in ("stdlib", "platstdlib")})
_OURS: Final = str(Path(__file__).parent)
_LOGIN: Final = re.compile(r"://[^/\s'\"<>]*@")
_TOKEN: Final = re.compile(r"\b(Bearer|Basic)\s+[^\s'\",;)\]}]+", re.IGNORECASE)
_NAMED_SECRET: Final = re.compile(
    r"""((?<![A-Za-z])(?:authorization|cookie|pass(?:word|wd|phrase)?|secret|api[-_]?key|(?:access|auth|refresh)[-_]?token|token|key)"""
    r"""\b["']?\s*[:=]\s*["']?)(?!\*\*\*)(?!(?:bearer|basic) \*)[^\s"',;&)\]}]+""",
    re.IGNORECASE,
)
MAX_TEXT: Final = 2_000
"""Characters of an exception's text in `described`."""
MAX_TRACEBACK: Final = 50_000
"""Characters of a traceback."""


class Place(NamedTuple):
    """A line of code."""

    filename: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.filename}:{self.line} in {self.function}"


def own_place(error: BaseException) -> Place | None:
    """The innermost frame of the host's own code in the traceback of `error`; None for an exception that was never
    raised.

    Own code is neither installed, nor Python's, nor ours. An application that is itself installed has no such frame:
    then the result is the first frame that our code called, or else the innermost one.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return None
    for frame, line in reversed(frames):
        if not _is_others(frame):
            return _place(frame, line)
    for frame, line in frames:
        if not _is_ours(frame) and not frame.f_code.co_filename.startswith((*_STANDARD, "<")):
            return _place(frame, line)
    return _place(*frames[-1])


def raised_in(error: BaseException) -> str | None:
    """The top-level package of the innermost frame in the traceback of `error`, not counting the standard library."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        filename = frame.f_code.co_filename
        if filename.startswith("<") or (filename.startswith(_STANDARD) and not _is_installed(filename)):
            continue
        return str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return None


def described(error: BaseException) -> str:
    """Class and text, as in the last line of a traceback, without passwords and keys that are known by their form. Only
    for readers who may see any other text."""
    text = masked("".join(traceback.format_exception_only(error)).strip())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def traceback_of(error: BaseException) -> str:
    """The traceback as Python prints it, `masked`, without local variables. For readers as those of `described`."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 -- the exception's own methods fail
        text = "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
    return masked(text if len(text) <= MAX_TRACEBACK else text[: MAX_TRACEBACK - 1] + "…").rstrip()


def masked(text: str) -> str:
    """A text without what logs somebody in: user and password of URLs, tokens of headers, and values that are called
    so. What has another form stays."""
    return _NAMED_SECRET.sub(r"\1***", _TOKEN.sub(r"\1 ***", _LOGIN.sub("://***@", text)))


def _place(frame: FrameType, line: int) -> Place:
    return Place(frame.f_code.co_filename, line, frame.f_code.co_name)


def _is_others(frame: FrameType) -> bool:
    filename = frame.f_code.co_filename
    return _is_ours(frame) or _is_installed(filename) or filename.startswith((*_STANDARD, "<"))


def _is_installed(filename: str) -> bool:
    return any(f"{name}/" in filename.replace("\\", "/") for name in _INSTALLED)


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)
