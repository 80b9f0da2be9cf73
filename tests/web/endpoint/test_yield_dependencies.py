"""FastAPI's dependencies that yield see how their guarded endpoint ended, as they would without the guard."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse

from streamguard import StreamCutError, StreamGuard
from streamguard.testing import GuardedApp
from tests.harness.waiting import wait_until_async
from tests.web.serving import USER, Gate, make_guard

pytestmark = pytest.mark.anyio


@dataclass
class Database:
    """Sessions of a database, each a dependency that commits what its endpoint did, or takes it back."""

    done: list[str] = field(default_factory=list)
    seen: list[BaseException] = field(default_factory=list)
    answer_instead: Exception | None = None
    """What its dependency raises in place of what it sees."""
    keep: bool = False
    """It does not raise again what it sees."""

    async def session(self) -> AsyncIterator[str]:
        try:
            yield "session"
        except Exception as exc:
            self._roll_back("async", exc)
            if self.answer_instead is not None:
                raise self.answer_instead from exc
            if not self.keep:
                raise
        else:
            self.done.append("async commit")

    def sync_session(self) -> Iterator[str]:
        try:
            yield "session"
        except Exception as exc:
            self._roll_back("sync", exc)
            raise
        else:
            self.done.append("sync commit")

    def _roll_back(self, kind: str, exc: Exception) -> None:
        self.done.append(f"{kind} rollback")
        self.seen.append(exc)


Failing = Callable[[], Awaitable[None]]


def generator(guard: StreamGuard, db: Database, fail: Failing, first: list[str]) -> Callable[..., Any]:
    @guard.stream(session=lambda request: request.query_params["id"])
    async def chat(
        request: Request, one: Annotated[str, Depends(db.sync_session)], two: Annotated[str, Depends(db.session)]
    ) -> AsyncIterator[str]:
        for word in first:
            yield word
        await fail()

    return chat


def returned(guard: StreamGuard, db: Database, fail: Failing, first: list[str]) -> Callable[..., Any]:
    @guard.stream(session=lambda request: request.query_params["id"], protocol="plain")
    async def chat(
        request: Request, one: Annotated[str, Depends(db.sync_session)], two: Annotated[str, Depends(db.session)]
    ) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            for word in first:
                yield word
            await fail()

        async def after() -> None:
            db.done.append("background")

        return StreamingResponse(body(), media_type="text/plain", background=BackgroundTask(after))

    return chat


def application(guard: StreamGuard, endpoint: Callable[..., Any]) -> FastAPI:
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/chat", response_model=None)(endpoint)
    guard.install(app, "/api/chat")
    return app


async def crash() -> None:
    raise ZeroDivisionError("secret")


async def refuse() -> None:
    raise HTTPException(418, "teapot")


async def succeed() -> None:
    pass


ROLLED_BACK = ["async rollback", "sync rollback"]
kinds = pytest.mark.parametrize("kind", [generator, returned], ids=lambda kind: kind.__name__)


@kinds
@pytest.mark.parametrize("fail", [crash, refuse], ids=lambda fail: fail.__name__)
async def test_a_failure_before_the_first_event_is_rolled_back(kind: Callable[..., Any], fail: Failing) -> None:
    guard, db = make_guard(), Database()
    async with GuardedApp(application(guard, kind(guard, db, fail, [])), guard, headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        assert answer.status == (500 if fail is crash else 418)
    assert db.done == ROLLED_BACK
    assert {type(seen) for seen in db.seen} == {ZeroDivisionError if fail is crash else HTTPException}


@kinds
async def test_so_is_one_after_it(kind: Callable[..., Any]) -> None:
    guard, db = make_guard(), Database()
    async with GuardedApp(application(guard, kind(guard, db, crash, ["half "])), guard, headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        await answer.rest()
        assert [fault.code for fault in answer.faults] == ["internal"]
        await ann.idle()
    assert [one for one in db.done if one != "background"] == ROLLED_BACK
    assert {type(seen) for seen in db.seen} == {ZeroDivisionError}


@kinds
async def test_an_answer_that_completes_is_committed(kind: Callable[..., Any]) -> None:
    guard, db = make_guard(), Database()
    async with GuardedApp(application(guard, kind(guard, db, succeed, ["all"])), guard, headers=USER) as ann:
        await (await ann.post({}, path="/chat?id=c1")).rest()
        await ann.idle()
    assert [one for one in db.done if one != "background"] == ["async commit", "sync commit"]


@kinds
@pytest.mark.parametrize("left", [False, True], ids=["watched", "left"])
async def test_an_endpoint_that_is_stopped_did_not_get_to_its_end(kind: Callable[..., Any], left: bool) -> None:
    guard, db, gate = make_guard(), Database(), Gate()
    async with GuardedApp(
        application(guard, kind(guard, db, gate.wait, ["half "])), guard, prefix="/api/chat", headers=USER
    ) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        await gate.reached.wait()
        if left:
            answer.drop()
        await ann.stop("c1")
        await ann.ended(answer)
        if not left:
            await answer.rest()
    assert [one for one in db.done if one != "background"] == ROLLED_BACK
    (cut, same) = db.seen
    assert cut is same
    assert isinstance(cut, StreamCutError)
    assert (cut.fault.code, cut.outcome) == ("stopped", "stopped")


@kinds
async def test_one_that_another_worker_has_taken_over_was_not_stopped_by_its_user(kind: Callable[..., Any]) -> None:
    guard, db, gate = make_guard(), Database(), Gate()
    app = application(guard, kind(guard, db, gate.wait, ["half "]))
    async with GuardedApp(app, guard, prefix="/api/chat", headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        await gate.reached.wait()
        (stream,) = guard._running().streams.values()
        stream.supersede()
        answer.drop()
        await wait_until_async(lambda: len(db.seen) == 2, description="the dependencies have seen it")
    assert [one for one in db.done if one != "background"] == ROLLED_BACK
    cut = db.seen[0]
    assert isinstance(cut, StreamCutError)
    assert (cut.fault.code, cut.outcome) == ("superseded", "interrupted")


@kinds
async def test_nor_did_one_whose_task_was_cancelled(kind: Callable[..., Any]) -> None:
    """By whoever cancels all tasks, or by itself: nothing of ours."""

    async def give_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    guard, db = make_guard(), Database()
    async with GuardedApp(application(guard, kind(guard, db, give_up, ["half "])), guard, headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        await answer.rest()
        assert [fault.code for fault in answer.faults] == ["shutting_down"]
        await ann.idle()
    assert [one for one in db.done if one != "background"] == ROLLED_BACK
    cut = db.seen[0]
    assert isinstance(cut, StreamCutError)
    assert (cut.fault.code, cut.outcome) == ("shutting_down", "interrupted")


async def test_a_limit_is_told() -> None:
    guard, db, gate = make_guard(), Database(), Gate()
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/chat")
    @guard.stream(session=lambda request: request.query_params["id"], first_item_seconds=0.01)
    async def chat(request: Request, session: Annotated[str, Depends(db.session)]) -> AsyncIterator[str]:
        await gate.wait()
        yield ""

    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        assert answer.status == 504
    assert db.done == ["async rollback"]
    (cut,) = db.seen
    assert isinstance(cut, StreamCutError)
    assert (cut.fault.code, cut.outcome) == ("provider_timeout", "failed")


async def test_a_dependency_that_lasts_as_long_as_the_endpoint_sees_it_too() -> None:
    guard, db = make_guard(), Database()
    app = FastAPI(lifespan=guard.lifespan)
    depends: Any = Depends
    scope = {"scope": "function"} if "scope" in inspect.signature(Depends).parameters else {}  # from FastAPI 0.121 on

    @app.post("/chat")
    @guard.stream(session=lambda request: request.query_params["id"])
    async def chat(request: Request, session: str = depends(db.session, **scope)) -> AsyncIterator[str]:
        await crash()
        yield ""

    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, headers=USER) as ann:
        assert (await ann.post({}, path="/chat?id=c1")).status == 500
    assert db.done == ["async rollback"]


async def test_a_dependency_may_answer_a_failure_before_the_first_event() -> None:
    """As FastAPI's documentation shows it: `except ShopError: raise HTTPException(…)`."""
    guard, db = make_guard(), Database(answer_instead=HTTPException(409, "taken"))
    async with GuardedApp(application(guard, generator(guard, db, crash, [])), guard, headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        assert (answer.status, json.loads(answer.body)) == (409, {"detail": "taken"})
    assert db.done == ROLLED_BACK
    assert [type(seen) for seen in db.seen] == [ZeroDivisionError, HTTPException]


async def test_one_that_keeps_a_failure_to_itself_changes_no_answer() -> None:
    guard, db = make_guard(), Database(keep=True)
    async with GuardedApp(application(guard, generator(guard, db, crash, [])), guard, headers=USER) as ann:
        answer = await ann.post({}, path="/chat?id=c1")
        assert (answer.status, [fault.code for fault in answer.faults]) == (500, ["internal"])
    assert db.done == ["async rollback", "sync commit"]
