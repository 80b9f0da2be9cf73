"""Workers that get to a step, and no further: there a test kills them."""

from __future__ import annotations

from tests.harness.proxy import FaultProxy, Matches
from tests.harness.waiting import wait_until_async

__all__ = ["reached", "stop_at"]


def stop_at(proxy: FaultProxy, what: str, marker: Matches) -> None:
    """Let no `request` that `marker` chooses through, or not the `reply` to the next one."""
    if what == "request":
        proxy.lose_request(marker, times=1000)
    else:
        proxy.lose_reply(marker, cut=False)


async def reached(proxy: FaultProxy, step: str) -> None:
    """Wait until what is to be lost was."""
    await wait_until_async(lambda: proxy.requests_lost or proxy.replies_lost, description=step, timeout=30)
