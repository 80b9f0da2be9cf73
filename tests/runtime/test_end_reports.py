"""What is reported of streams that ended: each is counted, and told to whoever wants to know."""

from __future__ import annotations

import json

import pytest

from streamguard.observations import Observation, SelectiveObserver, Signal
from streamguard.runtime import Runtime
from streamguard.stores.memory import MemoryStore

from .stage import Worker, quick, saying

pytestmark = pytest.mark.anyio


class Ends(SelectiveObserver):
    """Keeps what it is told, and wants nothing but ends, or nothing at all."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self.told: list[Signal] = []

    def __call__(self, observation: Observation, /) -> None:
        self.told.append(observation.name)

    def wants(self, signal: Signal, /) -> bool:
        return self._wanted and signal is Signal.STREAM_ENDED


@pytest.mark.parametrize("wanted", [True, False])
async def test_each_end_is_counted_and_told_to_who_wants_it(memory: MemoryStore, *, wanted: bool) -> None:
    observer = Ends(wanted=wanted)
    async with Runtime(memory, quick(), [observer]) as runtime:
        stream = await Worker(runtime, []).start(saying("a", "b"))
        await stream.ended()
        report = json.loads(runtime._parts.worker_reporter.report())
    assert (report["ends"], report["events"]) == ({"completed": 1}, stream.feed.emitted)
    assert observer.told == [Signal.STREAM_ENDED] * wanted
