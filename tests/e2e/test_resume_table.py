"""The resume table, row by row, over two worker processes and over what one process on memory can show."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest

from tests.harness.redis import RedisServer
from tests.harness.redis_fixtures import KINDS, RedisOfKind
from tests.harness.sse import Ending, EventReader, SseEvent, resume, ui_text
from tests.harness.waiting import wait_until
from tests.harness.workers import Worker

from .calls import USER, expected_text, get, new_session, open_gate, post, raw_post, status
from .conftest import APP, SHORT_PATIENCE, environment

pytestmark = pytest.mark.anyio

SETTINGS = {"replay_after_finish_seconds": 3.0}


@pytest.fixture(scope="module", params=["redis", "memory", *KINDS])
def workers(request: pytest.FixtureRequest) -> Iterator[tuple[Worker, Worker]]:
    """Who produces, and who is asked to resume: two processes on every kind of Redis, the same one on memory."""
    if request.param == "redis":
        yield request.getfixturevalue("pair")
    elif request.param == "memory":
        with Worker(APP, env=environment("memory://", **SETTINGS)) as only:
            yield only, only
    else:
        server: RedisOfKind = request.getfixturevalue(request.param)
        env = environment(server.database_url(0), **SETTINGS)
        with Worker(APP, env=env) as first, Worker(APP, env=env) as second:
            yield first, second
        assert server.keys_without_ttl(0) == []


def events_of(answer: httpx.Response) -> list[SseEvent]:
    return EventReader().feed(answer.content)


def fault_of(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert body["error"]["type"] == "streamguard_error"
    fault: dict[str, Any] = body["error"]
    return fault


def stream_of(events: list[SseEvent]) -> str:
    assert events[0].id is not None
    return events[0].id.split(".")[1]


async def finished(worker: Worker, session: str, n: int = 5) -> list[SseEvent]:
    async with post(worker, session, n=n) as stream:
        events = await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    return events


@pytest.mark.parametrize(
    "cursor",
    [
        "$",
        "+",
        "-",
        "0-1\\0",
        "0",
        "1.2",
        f"1.{'a' * 24}.1",
        f"1.{'a' * 24}.1.{2**64}",
        "x" * 5000,
        f"1.{'A' * 24}.1.1",
        "1...1",
    ],
)
def test_malformed_cursor_is_400_even_without_credentials(workers: tuple[Worker, Worker], cursor: str) -> None:
    _, other = workers
    for answer in (
        get(other, "any", cursor, user=None),
        get(other, "any", query=f"?cursor={httpx.QueryParams({'c': cursor})['c']}".replace("+", "%2B"), user=None),
    ):
        assert answer.status_code == 400
        assert fault_of(answer)["code"] == "cursor_invalid"


def test_unauthenticated_is_401(workers: tuple[Worker, Worker]) -> None:
    answer = get(workers[1], "any", user=None)
    assert (answer.status_code, fault_of(answer)["code"]) == (401, "unauthenticated")


def test_never_any_stream_is_204_none(workers: tuple[Worker, Worker]) -> None:
    answer = get(workers[1], new_session())
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["x-resume-reason"] == "none"


@pytest.mark.promise("I9")
async def test_cursor_of_an_unknown_stream_is_410(workers: tuple[Worker, Worker]) -> None:
    session = new_session()
    await finished(workers[0], session)
    answer = get(workers[1], session, f"1.{'a' * 24}.1.1")
    fault = fault_of(answer)
    assert (answer.status_code, fault["code"], fault["reason"]) == (410, "resume_failed", "stream_gone")


@pytest.mark.promise("I9")
async def test_cursor_of_another_session_is_410(workers: tuple[Worker, Worker]) -> None:
    events = await finished(workers[0], new_session())
    answer = get(workers[1], new_session(), events[0].id)
    assert (answer.status_code, fault_of(answer)["reason"]) == (410, "stream_gone")


@pytest.mark.promise("I9")
async def test_cursor_ahead_of_the_log_is_410(workers: tuple[Worker, Worker]) -> None:
    session = new_session()
    events = await finished(workers[0], session)
    place, _, seq = str(events[-1].id).rpartition(".")
    stream, _, epoch = place.rpartition(".")
    for cursor in (f"{place}.999", f"{place}.{int(seq) + 1}", f"{stream}.{int(epoch) - 1}.{seq}", f"{stream}.1.1"):
        answer = get(workers[1], session, cursor)
        assert (answer.status_code, fault_of(answer)["reason"]) == (410, "cursor_ahead"), cursor


async def test_active_stream_is_replayed_and_followed_to_its_terminal(workers: tuple[Worker, Worker]) -> None:
    first, other = workers
    session = new_session()
    async with post(first, session, n=10, gate=session, gate_at=5) as stream:
        seen = await stream.read_events(4)
        async with resume(other.port, session, headers=USER) as whole:
            async with resume(other.port, session, seen[-1].id, headers=USER) as tail:
                replayed = await whole.read_events(4)
                assert replayed == seen
                open_gate(first, session)
                rest = await tail.read_rest()
                all_of_it = replayed + await whole.read_rest()
            assert whole.ending is Ending.CLEAN
    assert ui_text(all_of_it) == ui_text(seen + rest) == expected_text(10)
    assert all_of_it[-1].data == rest[-1].data == "[DONE]"
    assert [event.id for event in all_of_it] == [event.id for event in seen + rest]


async def test_failed_before_its_first_byte_is_204_finished(workers: tuple[Worker, Worker]) -> None:
    session = new_session()
    failed = raw_post(workers[0], session, n=3, crash_at=0)
    assert (failed.status_code, fault_of(failed)["code"]) == (502, "provider_error")
    assert b"secret words" not in failed.content
    wait_until(lambda: status(workers[0], session)["active"] is None, description="the failed stream has closed")
    answer = get(workers[1], session)
    assert (answer.status_code, answer.headers["x-resume-reason"]) == (204, "finished")


async def test_finished_with_a_cursor_behind_the_end_gives_the_unseen_tail(workers: tuple[Worker, Worker]) -> None:
    session = new_session()
    events = await finished(workers[0], session)
    for seen in (1, 3, len(events) - 1):
        answer = get(workers[1], session, events[seen - 1].id)
        assert answer.status_code == 200
        assert events_of(answer) == events[seen:]


async def test_finished_with_the_last_cursor_is_204(workers: tuple[Worker, Worker]) -> None:
    session = new_session()
    events = await finished(workers[0], session)
    answer = get(workers[1], session, events[-1].id)
    assert (answer.status_code, answer.headers["x-resume-reason"]) == (204, "finished")


async def test_finished_without_cursor_is_replayed_for_a_while_then_204(workers: tuple[Worker, Worker]) -> None:
    session = new_session()
    events = await finished(workers[0], session)
    soon = get(workers[1], session)
    assert (soon.status_code, events_of(soon)) == (200, events)
    later = wait_until(
        lambda: answer if (answer := get(workers[1], session)).status_code == 204 else None,
        description="the replay window has passed",
    )
    assert later is not None
    assert later.headers["x-resume-reason"] == "finished"


async def test_the_header_is_newer_than_the_query(workers: tuple[Worker, Worker]) -> None:
    """An EventSource keeps its URL when it reconnects, and adds what it saw last."""
    session = new_session()
    events = await finished(workers[0], session)
    answer = get(workers[1], session, events[2].id, query=f"?cursor={events[0].id}")
    assert events_of(answer) == events[3:]


_NAMES_IT_ALONE: Final = re.compile(rb'"(fault_id|id|timestamp|request_id|session_id|stream_id)":"[^"]*"')


def comparable(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All of a response but what names it alone."""
    names = {"date", "x-request-id"}
    headers = [(name, value) for name, value in answer.headers.multi_items() if name not in names]
    body = answer.content
    if body.startswith(b"{"):
        fault = json.loads(body)
        for key in ("fault_id", "timestamp", "request_id", "session_id", "stream_id"):
            fault.get("error", {}).pop(key, None)
        fault.pop("session_id", None)
        body = json.dumps(fault).encode()
    body = _NAMES_IT_ALONE.sub(rb'"\1":""', body)  # in a fault that is told in a stream
    return answer.status_code, body, [(n, v) for n, v in headers if n not in {"x-session-id", "content-length"}]


@pytest.mark.promise("I12")
async def test_foreign_sessions_are_like_sessions_that_never_were(workers: tuple[Worker, Worker]) -> None:
    """Promise I12: on every route, in status, body and headers."""
    first, other = workers
    session, unknown = new_session(), new_session()
    async with post(first, session, n=5, gate=session, gate_at=3) as stream:
        seen = await stream.read_events(3)
        stream_id = stream_of(seen)
        cursor = str(seen[1].id)

        def ask(name: str, method: str, tail: str, headers: dict[str, str] | None = None) -> httpx.Response:
            url = f"{other.url}/api/chat/{name}{tail}"
            return httpx.request(method, url, headers={"X-User": "eve", **(headers or {})}, trust_env=False)

        requests: list[tuple[str, str, dict[str, str]]] = [
            ("GET", "/stream", {}),
            ("GET", "/stream", {"Last-Event-ID": cursor}),
            ("GET", f"/stream?cursor={cursor}", {}),
            ("GET", "/stream?errors=stream", {"Last-Event-ID": cursor}),
            ("POST", "/stop", {}),
            ("GET", "", {}),
            ("GET", f"/streams/{stream_id}/raw", {}),
            ("DELETE", "", {}),
        ]
        for method, tail, headers in requests:
            foreign, never = ask(session, method, tail, headers), ask(unknown, method, tail, headers)
            if "errors=stream" in tail:
                assert foreign.status_code == never.status_code == 200
                assert b"resume_failed" in foreign.content
            assert comparable(foreign) == comparable(never), (method, tail)
        open_gate(first, session)
        await stream.read_rest()
    assert ui_text(events_of(get(other, session))) == expected_text(5)


def test_store_unreachable_is_503(worker: Callable[..., Worker], own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    one = worker(server.url, **SHORT_PATIENCE)
    server.stop()
    answer = get(one, new_session())
    fault = fault_of(answer)
    assert (answer.status_code, fault["code"], fault["phase"]) == (503, "store_unavailable", "resume")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.promise("I9")
async def test_trimmed_and_vanished_logs_are_410(pair: tuple[Worker, Worker], shared_redis: RedisServer) -> None:
    first, other = pair
    session = new_session()
    events = await finished(first, session, n=8)
    client = shared_redis.client()
    stream_id = stream_of(events)
    log = next(key for key in client.scan_iter(f"*{stream_id}*") if client.type(key) == b"stream")
    client.xtrim(log, minid="-".join(str(events[4].id).split(".")[2:]), approximate=False)
    answer = get(other, session, events[0].id)
    assert (answer.status_code, fault_of(answer)["reason"]) == (410, "trimmed")
    assert events_of(get(other, session, events[5].id)) == events[6:]
    client.delete(log)
    for cursor in (None, events[0].id):
        answer = get(other, session, cursor)
        assert (answer.status_code, fault_of(answer)["reason"]) == (410, "stream_gone")


async def test_expired_stream_is_410(pair: tuple[Worker, Worker], shared_redis: RedisServer) -> None:
    first, other = pair
    session = new_session()
    events = await finished(first, session)
    client = shared_redis.client()
    stream_id = stream_of(events)
    for key in client.scan_iter(f"*{stream_id}*"):
        client.delete(key)
    for cursor in (None, events[0].id):
        answer = get(other, session, cursor)
        assert (answer.status_code, fault_of(answer)["reason"]) == (410, "stream_gone")


async def test_errors_as_a_stream_for_native_event_source(workers: tuple[Worker, Worker]) -> None:
    """It gives up on any status but 200; a permanent failure's block carries a cursor that is answered 204."""
    session = new_session()
    events = await finished(workers[0], session)
    stream_id = stream_of(events)
    answer = get(workers[1], session, f"1.{stream_id}.1.999", query="?errors=stream")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events_of(answer)
    assert any('"resume_failed"' in event.data for event in told)
    last = [event.id for event in told if event.id][-1]
    again = get(workers[1], session, last, query="?errors=stream")
    assert again.status_code == 204
