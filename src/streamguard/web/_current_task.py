"""Which task an event loop takes for the current one, exchanged: for who does another task's work."""

from __future__ import annotations

import sys
from asyncio import AbstractEventLoop, Task

__all__ = ["swap_current_task"]

if sys.version_info >= (3, 12):
    from asyncio.tasks import _swap_current_task as swap_current_task
else:
    from asyncio.tasks import _current_tasks  # type: ignore[attr-defined] # a dict, in C and in Python

    def swap_current_task(loop: AbstractEventLoop, task: Task[object] | None) -> Task[object] | None:
        """Make `task` the loop's current one; the one that was. What asyncio has itself from 3.12 on: its `_leave_task`
        and `_enter_task`, which are older, take three times as long."""
        before: Task[object] | None = _current_tasks.get(loop)
        if task is None:
            _current_tasks.pop(loop, None)
        else:
            _current_tasks[loop] = task
        return before
