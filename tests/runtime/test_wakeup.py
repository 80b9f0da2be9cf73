"""A wait of one task."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.runtime.producing.wakeup import Wakeup

pytestmark = pytest.mark.anyio


async def test_a_second_waiter_is_refused_and_leaves_the_first_one_waiting() -> None:
    wakeup = Wakeup()
    first = asyncio.create_task(wakeup.until_woken())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two tasks wait"):
        await wakeup.until_woken()
    wakeup.wake()
    await asyncio.wait_for(first, 20)
