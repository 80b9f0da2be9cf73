"""Hearing SIGTERM and SIGINT before the server does: it reaches the lifespan's shutdown only after streams close."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

__all__ = ["ShutdownSignals"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class ShutdownSignals:
    """While installed, `begin` is called on the event loop at each word of a shutdown, with the signal's number; the
    server hears it too.

    Only in the main thread, and only where a handler is there to be chained: without one the signal ends the process
    at once, and it is not ours to change that.
    """

    def __init__(self, begin: Callable[[int], None]) -> None:
        self._begin = begin
        self._installed: dict[signal.Signals, tuple[Callable[..., object], object]] = {}

    def install(self) -> None:
        """Chain in front of the present handlers. Called on the event loop."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop, process = asyncio.get_running_loop(), os.getpid()
        for number in _SIGNALS:
            user_messages = signal.getsignal(number)
            if not callable(user_messages):
                continue

            def chained(
                received: int,
                frame: FrameType | None,
                user_messages: Callable[[int, FrameType | None], object] = user_messages,
            ) -> None:
                if not loop.is_closed() and process == os.getpid():
                    loop.call_soon_threadsafe(self._begin, received)
                user_messages(received, frame)

            signal.signal(number, chained)
            self._installed[number] = (chained, user_messages)

    def restore(self) -> None:
        """Put the former handlers back, unless somebody has chained in front of ours since."""
        installed, self._installed = self._installed, {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number, (chained, user_messages) in installed.items():
            if signal.getsignal(number) is chained:
                signal.signal(number, user_messages)  # type: ignore[arg-type]
