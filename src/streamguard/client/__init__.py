"""A reader of guarded streams for Python: services, command lines, tests.

    async with StreamClient("https://chat.example.org") as client:
        async with client.ask({"id": "c1", "messages": messages}) as stream:
            async for event in stream:
                print(event.text, end="")

Importing this package needs nothing extra; the client needs `pip install 'streamguard-asgi[client]'`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..distribution import install_command
from ..errors import ConfigurationError
from ..retrying import Backoff
from .errors import (
    GaveUpError,
    MalformedAnswerError,
    RefusedError,
    ResumeFailedError,
    StreamClientError,
    UnansweredError,
)
from .records import QuotaLimit, QuotaStatus, SavedMessage, SessionStatus, StoppedStream, StreamStatus
from .stream_events import StreamEvent, StreamEventKind

if TYPE_CHECKING:
    from .event_stream import EventStream, NoStream
    from .stream_client import StreamClient

__all__ = [
    "Backoff",
    "EventStream",
    "GaveUpError",
    "MalformedAnswerError",
    "NoStream",
    "QuotaLimit",
    "QuotaStatus",
    "RefusedError",
    "ResumeFailedError",
    "SavedMessage",
    "SessionStatus",
    "StoppedStream",
    "StreamClient",
    "StreamClientError",
    "StreamEvent",
    "StreamEventKind",
    "StreamStatus",
    "UnansweredError",
]

_MODULES = {"EventStream": "event_stream", "NoStream": "event_stream", "StreamClient": "stream_client"}


if not TYPE_CHECKING:  # a type checker would take any name for an export

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = import_module(f"{__name__}.{_MODULES[name]}")
        except ModuleNotFoundError as exc:
            if exc.name != "httpx":
                raise
            raise ConfigurationError(f"{__name__}.{name} needs httpx: `{install_command('client')}`") from exc
        found: object = getattr(module, name)
        return found
