"""A worker process's SIGTERM that comes from its server's parent process, while the worker is stopping already.

Hypercorn 0.18 with several workers tells all of them to stop, and sends SIGTERM to the others as soon as the first one
has ended (`hypercorn/run.py`). Its workers have no handler for it, so the signal would kill them in their drain.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

__all__ = ["ParentsSigterm"]

TOLD_SECONDS: Final = 1.0
"""Within that time a worker has noticed that it was told to stop; Hypercorn's looks ten times a second."""


class ParentsSigterm:
    """Ignores SIGTERM in a worker process that is stopping. In one that is not, the signal means what it did, a second
    later: `check` sees to that, and is called no more once the server stops."""

    def __init__(self) -> None:
        self._earlier: Callable[[int, FrameType | None], object] | int | None = None
        self._received_at: float | None = None

    def install(self) -> None:
        """Take the signal over, in a process that another one started for this work."""
        if multiprocessing.parent_process() is None or threading.current_thread() is not threading.main_thread():
            return
        self._earlier = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, self._receive)

    def check(self) -> None:
        """Have a signal take its effect that came while the server was not told to stop."""
        received_at = self._received_at
        if received_at is None or time.monotonic() - received_at < TOLD_SECONDS:
            return
        self._received_at = None
        signal.signal(signal.SIGTERM, self._earlier if self._earlier is not None else signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received_at = time.monotonic()
