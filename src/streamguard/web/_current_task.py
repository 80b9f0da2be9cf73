"""Work done as another task: what is called finds that task as the current one, and its context."""

from __future__ import annotations

import sys
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable
from contextvars import Context
from typing import TypeVar

__all__ = ["run_as"]

A = TypeVar("A")
R = TypeVar("R")

if sys.version_info >= (3, 12):
    from asyncio.tasks import _swap_current_task

    def run_as(task: Task[object], loop: AbstractEventLoop, context: Context, step: Callable[[A], R], argument: A) -> R:
        """`step(argument)` as `task` of the running `loop`, in `context`. It must not run the loop."""
        before = _swap_current_task(loop, task)
        try:
            return context.run(step, argument)
        finally:
            _swap_current_task(loop, before)

else:
    from asyncio.tasks import _current_tasks  # type: ignore[attr-defined] # a dict, in C and in Python

    def run_as(task: Task[object], loop: AbstractEventLoop, context: Context, step: Callable[[A], R], argument: A) -> R:
        """`step(argument)` as `task` of the running `loop`, in `context`. It must not run the loop."""
        before = _current_tasks.get(loop)
        _current_tasks[loop] = task  # what asyncio calls `_leave_task` and `_enter_task`, in a third of their time
        try:
            return context.run(step, argument)
        finally:
            if before is None:
                del _current_tasks[loop]
            else:
                _current_tasks[loop] = before
