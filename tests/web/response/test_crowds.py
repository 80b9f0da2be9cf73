"""Many clients that leave, or come back, in one moment: others have their turns of the event loop between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.types import Message

from streamguard import Settings, StreamGuard
from streamguard.runtime.viewing.throttle import PER_TURN, Throttle
from streamguard.stores.memory import MemoryStore
from streamguard.testing import FaultyStore
from tests.harness.waiting import wait_until_async

from ..serving import Gate, gated, gated_by, request_scope, user_of

pytestmark = pytest.mark.anyio

CROWD: Final = 80
MANY: Final[dict[str, object]] = {"max_viewers_per_owner": 1_000, "max_resumes_per_minute": 10_000}


@dataclass
class Client:
    """A request, until it is answered or its client leaves."""

    path: str
    method: str = "GET"
    bodies: list[bytes] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    told: bool = False
    """That its request is complete."""

    async def run(self, app: Starlette) -> None:
        await app(request_scope(self.path, self.method), self._receive, self._send)

    async def _receive(self) -> Message:
        if not self.told:
            self.told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.bodies.append(message["body"])


async def most_in_a_turn(count: Callable[[], int], until: Callable[[], bool]) -> int:
    """By how much a count changes at most from one turn of the event loop to the next, `until` it is over."""
    most, before = 0, count()
    async with asyncio.timeout(10):
        while not until():
            await asyncio.sleep(0)
            most, before = max(most, abs(count() - before)), count()
    return most


async def test_viewers_that_leave_at_once_leave_some_in_each_turn() -> None:
    gate = Gate()
    guard, app = gated(gate, **MANY)
    async with guard:
        clients = [Client("/chat", "POST"), *(Client("/api/chat/s/stream") for _ in range(CROWD))]
        first = asyncio.create_task(clients[0].run(app))
        await wait_until_async(lambda: clients[0].bodies, description="the answer has begun")
        requests = [asyncio.create_task(client.run(app)) for client in clients[1:]]
        await wait_until_async(lambda: all(client.bodies for client in clients), description="all view it")
        viewers = guard._running().viewer_registry.viewers
        for client in clients[1:]:
            client.left.set()
        assert 0 < await most_in_a_turn(lambda: len(viewers), lambda: len(viewers) == 1) <= PER_TURN
        gate.open()
        await asyncio.gather(first, *requests)


async def test_clients_that_come_back_at_once_are_answered_some_in_each_turn() -> None:
    gate = Gate()
    guard, app = gated(gate, **MANY)
    async with guard:
        first = Client("/chat", "POST")
        request = asyncio.create_task(first.run(app))
        await wait_until_async(lambda: first.bodies, description="the answer has begun")
        clients = [Client("/api/chat/s/stream") for _ in range(CROWD)]
        requests = [asyncio.create_task(client.run(app)) for client in clients]
        viewers = guard._running().viewer_registry.viewers
        assert 0 < await most_in_a_turn(lambda: len(viewers), lambda: len(viewers) == CROWD + 1) <= PER_TURN
        gate.open()
        await asyncio.gather(request, *requests)
        assert all(b"two" in b"".join(client.bodies) for client in clients)


async def test_clients_that_come_back_at_once_are_authenticated_some_in_each_turn() -> None:
    """A signature takes as long to check as all the rest of a resume, or longer."""
    asked = 0

    async def authenticate(connection: HTTPConnection) -> str:
        nonlocal asked
        asked += 1
        return "u"

    gate = Gate()
    guard = StreamGuard(authenticate=authenticate, settings=Settings.model_validate(MANY))
    app = gated_by(guard, gate)
    async with guard:
        first = Client("/chat", "POST")
        requests = [asyncio.create_task(first.run(app))]
        await wait_until_async(lambda: first.bodies, description="the answer has begun")
        clients = [Client("/api/chat/s/stream") for _ in range(CROWD)]
        requests += [asyncio.create_task(client.run(app)) for client in clients]
        assert 0 < await most_in_a_turn(lambda: asked, lambda: asked == CROWD + 1) <= PER_TURN
        gate.open()
        await asyncio.gather(*requests)


async def test_clients_that_a_slow_store_answers_at_once_are_served_some_in_each_turn() -> None:
    gate, store = Gate(), FaultyStore(MemoryStore())
    guard = StreamGuard(store, authenticate=user_of, settings=Settings.model_validate(MANY))
    app = gated_by(guard, gate)
    async with guard:
        first = Client("/chat", "POST")
        requests = [asyncio.create_task(first.run(app))]
        await wait_until_async(lambda: first.bodies, description="the answer has begun")
        store.faults.hold("session")
        clients = [Client("/api/chat/s/stream") for _ in range(CROWD)]
        requests += [asyncio.create_task(client.run(app)) for client in clients]
        await store.faults.held("session", count=CROWD)
        viewers = guard._running().viewer_registry.viewers
        store.faults.release("session")
        assert 0 < await most_in_a_turn(lambda: len(viewers), lambda: len(viewers) == CROWD + 1) <= PER_TURN
        gate.open()
        await asyncio.gather(*requests)


async def test_a_throttle_lets_the_first_ones_through_first() -> None:
    throttle, passed = Throttle(), list[int]()
    for number in range(3 * PER_TURN):
        throttle.enter(lambda number=number: passed.append(number))  # type: ignore[misc]
    assert passed == [*range(PER_TURN)]
    await asyncio.sleep(0)
    assert passed == [*range(2 * PER_TURN)]
    await asyncio.wait_for(throttle.passed(), 20)
    assert passed == [*range(3 * PER_TURN)]


async def test_who_waits_no_longer_at_a_throttle_holds_up_nobody() -> None:
    throttle = Throttle()
    for _ in range(PER_TURN):
        await throttle.passed()
    waiting = [asyncio.create_task(throttle.passed()) for _ in range(3 * PER_TURN)]
    await asyncio.sleep(0)
    for task in waiting[:-1]:
        task.cancel()
    await asyncio.wait_for(waiting[-1], 20)
    await asyncio.gather(*waiting, return_exceptions=True)
