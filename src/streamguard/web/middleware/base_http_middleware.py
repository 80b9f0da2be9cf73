"""What Starlette's `BaseHTTPMiddleware` does to a response that is cut short, and what can be done from inside it.

It runs the application in a task of its own. When the application returns or raises, it sends the final body message
itself: every client takes the response for complete.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import Send

from ..misuse import Misuse

__all__ = ["break_connection", "runs_in_base_http_middleware"]

_TASK_NAME: Final = f"{BaseHTTPMiddleware.__module__}."
"""How anyio names the task in which `BaseHTTPMiddleware` runs the application."""


class _Unwritable:
    """A body that a server cannot write: it fails, and breaks the connection."""

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        raise Misuse.ENDED_BY_ERROR.error()

    def __bytes__(self) -> bytes:
        raise Misuse.ENDED_BY_ERROR.error()


async def break_connection(send: Send) -> None:
    """Make the server break the connection, from inside a `BaseHTTPMiddleware`.

    `BaseHTTPMiddleware` passes on every body, as do others like it around it, and the server cannot write this one.
    Only for hosts that did not put the layer outside (`Misuse.LAYER_INSIDE` tells them to): `StreamGuard.wrap` needs
    none of it.
    """
    await send({"type": "http.response.body", "body": _Unwritable(), "more_body": True})


def runs_in_base_http_middleware(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the task in which a `BaseHTTPMiddleware` runs the application. `loop` is the running one."""
    task = asyncio.current_task(loop)
    return task is not None and (task.get_name() or "").startswith(_TASK_NAME)
