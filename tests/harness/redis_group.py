"""Several servers that start, and end, together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from .proxy import FaultProxy
from .redis import RedisServer

__all__ = ["RedisGroup"]


class RedisGroup:
    """Servers, and the fault proxies that some of them are behind. Use as a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def _members(self) -> Sequence[tuple[RedisServer, FaultProxy | None]]:
        raise AssertionError("a group names its servers")

    def _start(self) -> None:
        raise AssertionError("a group starts its servers")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server, proxy in self._members():
                stack.callback(server.close)
                if proxy is not None:
                    stack.enter_context(proxy)
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill every server and delete its files; may be called twice."""
        self._stack.close()
