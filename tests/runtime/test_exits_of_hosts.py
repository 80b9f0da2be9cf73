"""What a host's code raises that is no `Exception` ends the one piece of work that raised it, and nothing else.

A library in Rust panics with a `BaseException` (pyo3), `sys.exit` raises one, and so do groups and closed generators.
Wherever it comes from, other streams are whole, the next request is answered, and no logger is told its text.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Observation, Settings, Signal, StreamGuard
from streamguard.contained import Contained, gathered
from streamguard.quota import CallableQuota, Quota, QuotaCall
from streamguard.runtime.upkeep.tasks import Tasks
from streamguard.stores.memory import MemoryStore
from streamguard.testing import GuardedApp
from tests.telemetry.observed import QUICK, Told
from tests.web.serving import USER, user_of

from .savers import Messages

pytestmark = pytest.mark.anyio

SECRET: Final = "the prompt of somebody"


class Panic(BaseException):
    """What pyo3 raises."""


KINDS: Final[dict[str, Callable[[], BaseException]]] = {
    "Panic": lambda: Panic(SECRET),
    "SystemExit": lambda: SystemExit(SECRET),
    "SystemExit-429": lambda: SystemExit(429),
    "GeneratorExit": lambda: GeneratorExit(SECRET),
    "BaseExceptionGroup": lambda: BaseExceptionGroup(SECRET, [Panic(SECRET)]),
}


@pytest.fixture(params=sorted(KINDS))
def error(request: pytest.FixtureRequest) -> BaseException:
    return KINDS[request.param]()


async def _items() -> AsyncIterator[str]:
    yield "two"


class Host:
    """An application whose code fails at one place, in the session `bad` alone."""

    def __init__(self, error: BaseException, place: str) -> None:
        self.error, self.place = error, place
        self.told = Told()
        messages: Any = None
        if place == "save":
            messages = self.save
        elif place == "store":
            messages = Messages()
            messages.errors["append"] = error
        self.guard = guard = StreamGuard(
            MemoryStore(),
            authenticate=user_of,
            messages=messages,
            quota=CallableQuota(self.reserve, self.commit, self.commit) if place in ("reserve", "commit") else None,
            observers=(self.told, self.observe),
            settings=Settings.model_validate(QUICK),
        )
        self.go = asyncio.Event()
        quota = Quota(limit=100, per="day", unit="requests") if place in ("reserve", "commit") else None

        @guard.stream("request.query_params.id", binding="iterates", quota=quota)
        async def iterates(request: Request) -> AsyncIterator[str]:
            bad = request.query_params["id"] == "bad"
            if bad:
                self.fail_at("before")
            yield "one "
            if bad:
                self.fail_at("iterates")
            elif request.query_params["id"] == "other":
                await self.go.wait()
            yield "two"

        @guard.stream("request.query_params.id", binding="sync")
        def sync(request: Request) -> Iterator[str]:
            yield "one "
            self.fail_at("sync")

        @guard.stream("request.query_params.id", binding="returns")
        async def returns(request: Request) -> AsyncIterator[str]:
            self.fail_at("returns")
            return _items()

        routes = [
            Route(f"/api/{name}", endpoint, methods=["POST"])
            for name, endpoint in (("iterates", iterates), ("sync", sync), ("returns", returns))
        ]
        self.app = Starlette(routes=routes, lifespan=guard.lifespan)
        guard.install(self.app, "/api/chat")

    def fail_at(self, place: str) -> None:
        if self.place == place:
            raise self.error

    async def save(self, message: Any) -> None:
        if message.key.session_id == "bad":
            self.fail_at("save")

    async def reserve(self, call: QuotaCall) -> None:
        if call.key.session_id == "bad":
            self.fail_at("reserve")

    async def commit(self, call: QuotaCall) -> None:
        if call.key.session_id == "bad":
            self.fail_at("commit")

    def observe(self, _: Observation) -> None:
        self.fail_at("observer")


PLACES: Final = {
    "iterates": "iterates",
    "before": "iterates",
    "sync": "sync",
    "returns": "returns",
    "save": "iterates",
    "store": "iterates",
    "reserve": "iterates",
    "commit": "iterates",
    "observer": "iterates",
}
"""By place, the endpoint that is called."""


@pytest.mark.parametrize("place", PLACES)
async def test_one_stream_alone_ends(error: BaseException, place: str, caplog: pytest.LogCaptureFixture) -> None:
    host = Host(error, place)
    with caplog.at_level(logging.INFO):
        async with GuardedApp(host.app, host.guard, headers=USER) as chat:
            other = await chat.post({}, path="/api/iterates?id=other")
            await other.read(2)
            bad = await chat.post({}, path=f"/api/{PLACES[place]}?id=bad")
            await bad.rest()
            assert bad.status in (200, 500, 503)
            if place in ("iterates", "sync"):
                assert [fault.code for fault in bad.faults] == ["internal"]
            elif place in ("before", "returns"):
                assert bad.status == 500
            host.go.set()
            await other.rest()
            assert other.text == "one two"
            following = await chat.post({}, path="/api/iterates?id=next")
            await following.rest()
            assert following.text == "one two"
    if place in ("iterates", "sync", "before", "returns"):
        fault = await host.told.of(Signal.FAULT)
        assert type(fault.error) is type(error)
    assert SECRET not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith(("asyncio", "uvicorn"))]


async def test_the_body_of_an_answer_that_no_request_begins(error: BaseException) -> None:
    host = Host(error, "body")
    async with host.guard:

        async def bad() -> None:
            async with host.guard.start("ann", "bad") as run:
                await run.send("one")
                raise error

        assert await _raised(bad) is error
        async with host.guard.start("ann", "next") as run:
            await run.send("one")
    ends = [seen.fields["outcome"] for seen in host.told.observations if seen.name is Signal.STREAM_ENDED]
    assert ends == ["interrupted" if isinstance(error, GeneratorExit) else "failed", "completed"]


# -- the backstop --------------------------------------------------------------------------------------------------


async def _raised(work: Callable[[], Awaitable[object]]) -> BaseException:
    try:
        await work()
    except BaseException as exc:  # noqa: BLE001 -- whatever it is
        return exc
    raise AssertionError("nothing was raised")


async def test_no_task_ends_the_others(error: BaseException) -> None:
    told: list[Observation] = []
    again = asyncio.Event()
    tasks = Tasks(observe=told.append)
    await tasks.open()

    async def fails() -> None:
        raise error

    async def crashes() -> None:
        if tasks.crashes:
            again.set()
            return
        raise error

    tasks.start(fails)
    tasks.start(fails)
    tasks.supervise("crashes", crashes)
    assert (await _raised(lambda: tasks.run_detached(fails))).__cause__ is error
    async with asyncio.timeout(20):
        await again.wait()
    assert tasks.running
    await tasks.close()
    assert [seen.error for seen in told] == [error] * 3


async def test_contained_work_keeps_it_until_it_is_asked(error: BaseException) -> None:
    async def fails() -> None:
        raise error

    async def nothing() -> None:
        pass

    work = Contained(fails)
    await asyncio.wait({work.task})
    assert work.task.exception() is None
    with pytest.raises(type(error)):
        work.result()
    assert await _raised(lambda: gathered([fails, nothing])) is error
    released = Contained(fails)
    task = released.release()
    await asyncio.wait({task})
    assert type(task.exception()) is RuntimeError
