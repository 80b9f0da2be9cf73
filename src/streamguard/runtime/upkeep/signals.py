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
    """While installed, calls `begin` on the event loop at each shutdown signal, with the signal's number; the server
    gets the signal too.

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
            earlier = signal.getsignal(number)
            if not callable(earlier):
                continue

            def chained(
                received: int,
                frame: FrameType | None,
                earlier: Callable[[int, FrameType | None], object] = earlier,
            ) -> None:
                if not loop.is_closed() and process == os.getpid():
                    loop.call_soon_threadsafe(self._begin, received)
                earlier(received, frame)

            signal.signal(number, chained)
            self._installed[number] = (chained, earlier)

    def restore(self) -> None:
        """Put the former handlers back, unless somebody has chained in front of ours since."""
        installed, self._installed = self._installed, {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number, (chained, earlier) in installed.items():
            if signal.getsignal(number) is chained:
                signal.signal(number, earlier)  # type: ignore[arg-type]
