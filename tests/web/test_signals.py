from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from streamguard.runtime.upkeep.signals import ShutdownSignals
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Signals that reached the handlers that were there before ours, as a server's."""
    received: list[int] = []

    def server(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, server) for number in (signal.SIGTERM, signal.SIGINT)}
    yield received
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_drain_begins_and_the_server_hears_the_signal_too(heard: list[int], number: signal.Signals) -> None:
    begun: list[tuple[int, int]] = []
    signals = ShutdownSignals(lambda received: begun.append((received, threading.get_ident())))
    before = signal.getsignal(number)
    signals.install()
    signal.raise_signal(number)
    await wait_until_async(lambda: begun, description="the drain has begun")
    assert heard == [number]
    assert begun == [(number, threading.get_ident())]
    signals.restore()
    assert signal.getsignal(number) is before


async def test_whoever_chained_in_front_of_us_stays(heard: list[int]) -> None:
    signals = ShutdownSignals(lambda _: None)
    signals.install()

    def later(number: int, frame: FrameType | None) -> None:
        heard.append(-number)

    signal.signal(signal.SIGTERM, later)
    signals.restore()
    assert signal.getsignal(signal.SIGTERM) is later


async def test_where_nobody_handles_a_signal_neither_do_we() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signals = ShutdownSignals(lambda _: None)
    try:
        signals.install()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signals.restore()
        signal.signal(signal.SIGTERM, before)


async def test_outside_the_main_thread_nothing_happens(heard: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def elsewhere() -> None:
        signals = ShutdownSignals(lambda _: None)
        signals.install()
        signals.restore()

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert signal.getsignal(signal.SIGTERM) is before
    assert heard == []
