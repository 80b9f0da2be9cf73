from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from streamguard import StreamGuard
from streamguard.values import MAX_SEQ
from tests.harness.sse import EventReader, ui_text

from ..serving import USER, Gate, calling, make_guard

pytestmark = pytest.mark.anyio


class Body(BaseModel):
    id: str


def chat_app(guard: StreamGuard, gate: Gate | None = None) -> FastAPI:
    """`POST /api/chat` says "one " and, past the gate, "two"."""
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/api/chat")
    @guard.stream("body.id")
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "one "
        if gate is not None:
            await gate.wait()
        yield "two"

    guard.install(app, "/api/chat")
    return app


async def post(client: httpx.AsyncClient, session: str) -> httpx.Response:
    return await client.post("/api/chat", json={"id": session})


def event_ids(answer: httpx.Response) -> list[str]:
    lines = answer.text.splitlines()
    return [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


async def test_sessions_with_slashes_and_other_scripts_survive_the_path() -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        for session, path in (("a/b", "a%2Fb"), ("ü ☃", "%C3%BC%20%E2%98%83"), ("..x", "..x"), ("{*}", "%7B*%7D")):
            await post(client, session)
            resumed = await client.get(f"/api/chat/{path}/stream")
            status = await client.get(f"/api/chat/{path}")
            assert ui_text(EventReader().feed(resumed.content)) == "one two"
            assert status.json()["session_id"] == session
            assert status.headers["x-session-id"].isascii()


@pytest.mark.parametrize("path", ["%2E%2E", "%2E", "%00", "a%0D%0Ab", "%FF", "x" * 257])
async def test_sessions_no_url_should_hold_are_refused(path: str) -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        for method, tail in (("GET", ""), ("GET", "/stream"), ("POST", "/stop"), ("DELETE", "")):
            answer = await client.request(method, f"/api/chat/{path}{tail}")
            assert (answer.status_code, code_of(answer)) == (400, "session_invalid")


async def test_status_tells_of_the_active_and_the_last_stream() -> None:
    guard, gate = make_guard(), Gate()
    async with calling(chat_app(guard, gate), guard) as client, asyncio.TaskGroup() as tasks:
        never = (await client.get("/api/chat/s")).json()
        running = tasks.create_task(post(client, "s"))
        await gate.reached.wait()
        during = (await client.get("/api/chat/s")).json()
        gate.open()
        done = await running
        after = (await client.get("/api/chat/s")).json()
        foreign = (await client.get("/api/chat/s", headers={"X-User": "eve"})).json()
    stream_id = done.headers["x-stream-id"]
    assert never == foreign == {"session_id": "s", "active": None, "last": None, "quota": None}
    assert during["active"] == {
        "stream_id": stream_id,
        "message_id": done.headers["x-message-id"],
        "outcome": None,
        "persisted": "not_asked",
        "quota": "none",
        "cursor": event_ids(done)[2],
    }
    assert after["active"] is None
    assert (after["last"]["stream_id"], after["last"]["outcome"]) == (stream_id, "completed")


async def test_stop_is_202_while_it_runs_and_204_otherwise() -> None:
    guard, gate = make_guard(), Gate()
    async with calling(chat_app(guard, gate), guard) as client, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(post(client, "s"))
        await gate.reached.wait()
        foreign = await client.post("/api/chat/s/stop", headers={"X-User": "eve"})
        stopped = await client.post("/api/chat/s/stop")
        done = await running
        again = await client.post("/api/chat/s/stop")
    assert (foreign.status_code, stopped.status_code, again.status_code) == (204, 202, 204)
    assert stopped.json()["stream_id"] == stopped.headers["x-stream-id"] == done.headers["x-stream-id"]
    assert b'"abort"' in done.content


async def test_a_foreign_page_may_not_stop_or_delete_with_its_users_cookie() -> None:
    guard = make_guard(cors_origins=("https://app.example",))
    async with calling(chat_app(guard), guard, cookie="session=1") as client:
        for method, path in (("POST", "/api/chat/s/stop"), ("DELETE", "/api/chat/s")):
            evil = await client.request(method, path, headers={"Origin": "https://evil.example"})
            own = await client.request(method, path, headers={"Origin": "http://chat.example"})
            listed = await client.request(method, path, headers={"Origin": "https://app.example"})
            assert (evil.status_code, code_of(evil)) == (403, "forbidden_origin")
            assert own.status_code == listed.status_code == 204
        assert (await client.get("/api/chat/s", headers={"Origin": "https://evil.example"})).status_code == 200


async def test_raw_is_a_download_of_the_text() -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        stream_id = (await post(client, "s")).headers["x-stream-id"]
        path = f"/api/chat/s/streams/{stream_id}/raw"
        raw, head = await client.get(path), await client.head(path)
        foreign = await client.get(path, headers={"X-User": "eve"})
        odd = await client.get("/api/chat/s/streams/..%2F..%2Fetc/raw")
    assert raw.text == "one two"
    assert raw.headers["content-type"].startswith("text/plain")
    assert raw.headers["content-disposition"] == f'attachment; filename="{stream_id}.txt"'
    assert (head.status_code, head.content) == (200, b"")
    for answer in (foreign, odd):
        assert (answer.status_code, code_of(answer)) == (404, "not_found")


async def test_delete_erases_and_is_the_same_for_what_never_was() -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        events = EventReader().feed((await post(client, "s")).content)
        assert (await client.delete("/api/chat/never")).status_code == 204
        assert (await client.delete("/api/chat/s")).status_code == 204
        gone = await client.get("/api/chat/s/stream", headers={"Last-Event-ID": events[0].id or ""})
        none = await client.get("/api/chat/s/stream")
    assert (gone.status_code, gone.json()["error"]["reason"]) == (410, "stream_gone")
    assert (none.status_code, none.headers["x-resume-reason"]) == (204, "none")


async def test_methods_options_and_head() -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        done = await post(client, "s")
        options = await client.options("/api/chat/s")
        wrong = await client.put("/api/chat/s/stream")
        head = await client.head("/api/chat/s/stream")
        status = await client.head("/api/chat/s")
        the_hosts = await client.put("/api/chat")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, DELETE, OPTIONS")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert wrong.json()["error"]["reason"] == "method_not_allowed"
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["x-stream-id"] == done.headers["x-stream-id"]
    assert status.status_code == 200
    assert (the_hosts.status_code, the_hosts.json()) == (405, {"detail": "Method Not Allowed"})


async def test_cursors_come_first_then_identity() -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        del client.headers["X-User"]
        bad = await client.get("/api/chat/s/stream?cursor=$")
        nobody = await client.get(f"/api/chat/s/stream?cursor=1.{'a' * 24}.1.1")
        empty = await client.get("/api/chat/s/stream?cursor=", headers={**USER, "Last-Event-ID": ""})
    assert (bad.status_code, code_of(bad)) == (400, "cursor_invalid")
    assert (nobody.status_code, code_of(nobody)) == (401, "unauthenticated")
    assert empty.status_code == 204


async def test_two_different_cursors_are_refused_and_equal_or_empty_ones_are_one() -> None:
    """A proxy or a client may send the header twice: whichever was taken, the other's events might be missed."""
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        done = await post(client, "s")
        early, late = event_ids(done)[1], event_ids(done)[2]
        twice = [
            await client.get("/api/chat/s/stream", headers=[("Last-Event-ID", one), ("Last-Event-ID", other)])
            for one, other in ((early, late), (early, "?"), (early, early), ("", early))
        ]
        queries = [await client.get(f"/api/chat/s/stream?cursor={early}&cursor={one}") for one in (late, early, "")]
    assert [answer.status_code for answer in twice] == [400, 400, 200, 200]
    assert [answer.status_code for answer in queries] == [400, 200, 200]
    assert [answer.json()["error"]["reason"] for answer in (twice[0], queries[0])] == ["cursor_ambiguous"] * 2
    assert code_of(twice[0]) == "cursor_invalid"
    assert [event_ids(answer)[0] for answer in (*twice[2:], *queries[1:])] == [late] * 4


async def test_resumes_are_limited_per_minute() -> None:
    guard = make_guard(max_resumes_per_minute=2)
    async with calling(chat_app(guard), guard) as client:
        answers = [await client.get("/api/chat/s/stream") for _ in range(3)]
        other = await client.get("/api/chat/s/stream", headers={"X-User": "eve"})
    assert [answer.status_code for answer in answers] == [204, 204, 429]
    assert int(answers[2].headers["retry-after"]) >= 1
    assert other.status_code == 204


async def test_errors_as_a_stream() -> None:
    """A native EventSource gives up on any status but 200, and comes back after any 200 but 204."""
    guard = make_guard(max_resumes_per_minute=3)
    path = "/api/chat/s/stream?errors=stream"
    async with calling(chat_app(guard), guard) as client:
        anonymous = await client.get(path, headers={"X-User": ""})
        malformed = await client.get(path, headers={"Last-Event-ID": "$"})
        gone = await client.get(path, headers={"Last-Event-ID": f"1.{'a' * 24}.1.1"})
        await client.get(path)
        await client.get(path)
        limited = await client.get(path)
        for permanent in (anonymous, malformed, gone):
            (reader := EventReader()).feed(permanent.content)
            assert permanent.status_code == 200
            assert permanent.headers["content-type"].startswith("text/event-stream")
            assert permanent.content.startswith(b"retry: 3000\n")
            assert reader.last_id.endswith(f".{MAX_SEQ}")
            done = await client.get(path, headers={"X-User": "", "Last-Event-ID": reader.last_id})
            assert (done.status_code, done.headers["x-resume-reason"]) == (204, "finished")
            without = await client.get("/api/chat/s/stream", headers={"Last-Event-ID": reader.last_id})
            assert without.status_code in (410, 429)
    (reader := EventReader()).feed(limited.content)
    assert (limited.status_code, reader.last_id) == (200, "")
    assert b'"limit_rate"' in limited.content
    assert b"\n\n\n" not in limited.content


async def test_health_needs_no_identity() -> None:
    guard, gate = make_guard(), Gate()
    app = chat_app(guard, gate)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        before = [await client.get(f"/api/chat/health/{name}") for name in ("live", "ready", "streaming")]
    assert [answer.status_code for answer in before] == [200, 503, 503]
    async with calling(app, guard) as client, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(post(client, "s"))
        await gate.reached.wait()
        del client.headers["X-User"]
        live = await client.get("/api/chat/health/live")
        ready = await client.get("/api/chat/health/ready")
        streaming = await client.get("/api/chat/health/streaming")
        draining = tasks.create_task(guard.drain())
        while not guard._running().draining:
            await asyncio.sleep(0)
        drained = await client.get("/api/chat/health/ready")
        state = await client.get("/api/chat/health/streaming")
        refused = await client.post("/api/chat", json={"id": "t"}, headers=USER)
        gate.open()
        await draining
        await running
    assert live.json() == {"status": "ok"}
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": []})
    assert streaming.json() == {"status": "ok", "reasons": [], "streams": 1, "degraded_streams": 0, "viewers": 1}
    assert (drained.status_code, drained.json()["reasons"]) == (503, ["draining"])
    assert state.json()["status"] == "draining"
    assert (refused.status_code, code_of(refused)) == (503, "shutting_down")
    assert refused.headers["retry-after"]


async def test_the_hosts_routes_under_the_prefix_go_on_working() -> None:
    guard = make_guard()
    app = FastAPI()
    router = APIRouter()

    @app.get("/api/chat/before")
    async def before() -> str:
        return "before"

    guard.install(app, "/api/chat")

    @app.get("/api/chat/after")
    async def after() -> str:
        return "after"

    @router.get("/included")
    async def included() -> str:
        return "included"

    @app.patch("/api/chat/{session}")
    async def rename(session: str) -> str:
        return f"renamed {session}"

    app.include_router(router, prefix="/api/chat")
    app.mount("/", PlainTextResponse("the host's front end"))
    async with calling(app, guard) as client:
        for name in ("before", "after", "included"):
            assert (await client.get(f"/api/chat/{name}")).json() == name
        assert (await client.patch("/api/chat/s")).json() == "renamed s"
        assert (await client.get("/api/chat/s")).json()["session_id"] == "s"
        assert (await client.get("/api/chat/s/other")).text == "the host's front end"
        assert (await client.get("/api/chat/health/live")).json() == {"status": "ok"}


async def test_the_routes_alone_and_mounted() -> None:
    guard = make_guard()
    async with calling(guard.app, guard) as client:
        alone = await client.get("/s%2F1/stream")
        unknown = await client.get("/s/other", headers={"X-Request-Id": "r"})
    assert (alone.status_code, alone.headers["x-session-id"]) == (204, "s/1")
    assert (unknown.status_code, code_of(unknown), unknown.headers["x-request-id"]) == (404, "not_found", "r")
    assert guard.app is guard.app
    outer = Starlette(routes=[Mount("/my app", Mount("/guard", guard.app))])
    async with calling(outer, guard) as client:
        mounted = await client.get("/my%20app/guard/s%2F1/stream")
    assert (mounted.status_code, mounted.headers["x-session-id"]) == (204, "s/1")


async def test_two_prefixes_on_one_application() -> None:
    guard = make_guard()
    app = Starlette()
    guard.install(app, "/a")
    guard.install(app, "/b/c")
    async with calling(app, guard) as client:
        assert (await client.get("/a/s/stream")).status_code == (await client.get("/b/c/s/stream")).status_code == 204


async def test_ids_may_be_read_across_origins_whatever_the_host_exposes() -> None:
    guard = make_guard()
    cors = Middleware(CORSMiddleware, allow_origins=["https://app.example"], expose_headers=["X-Mine"])

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "word"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], middleware=[cors])
    guard.install(app, "/api/chat")
    async with calling(app, guard, origin="https://app.example") as client:
        answers = [await client.post("/chat?id=s"), await client.get("/api/chat/s/stream")]
    for answer in answers:
        (exposed,) = answer.headers.get_list("access-control-expose-headers")
        assert {"X-Mine", "X-Stream-Id", "X-Resume-Reason"} <= set(exposed.split(", "))


async def test_every_answer_has_a_request_id_and_json_is_not_cached() -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        await post(client, "s")
        requests = [("GET", "/s"), ("GET", "/s/stream"), ("POST", "/s/stop"), ("GET", "/none/stream"), ("DELETE", "/s")]
        for method, path in requests:
            answer = await client.request(method, f"/api/chat{path}", headers={"X-Request-Id": "mine"})
            assert answer.headers["x-request-id"] == "mine"
            assert answer.headers["cache-control"] in ("no-store", "no-cache, no-transform")
        envelope = json.loads((await client.get("/api/chat/s/stream?cursor=$")).content)
    assert envelope["error"]["param"] is None
