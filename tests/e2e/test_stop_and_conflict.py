"""Stop from any worker, and what a second request of a busy session gets under each policy."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.harness.sse import Ending, SseEvent, resume, ui_text
from tests.harness.workers import Worker

from .calls import USER, expected_text, get, new_session, open_gate, post, raw_post, status, trace

pytestmark = pytest.mark.anyio


def stop(worker: Worker, session: str) -> httpx.Response:
    return httpx.post(f"{worker.url}/api/chat/{session}/stop", headers=USER, timeout=10.0, trust_env=False)


def types(events: list[SseEvent]) -> list[str]:
    return [json.loads(event.data)["type"] for event in events if event.data.startswith("{")]


@pytest.mark.parametrize("asked", ["the same worker", "the other worker"])
async def test_stop_ends_a_quiet_stream_from_any_worker(pair: tuple[Worker, Worker], asked: str) -> None:
    first, other = pair
    session = new_session()
    async with post(first, session, n=10, gate=session, gate_at=5) as stream:
        seen = await stream.read_events(7)
        assert stop(other if asked == "the other worker" else first, session).status_code == 202
        events = seen + await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    assert types(events)[-2:] == ["text-end", "abort"]
    assert events[-1].data == "[DONE]"
    assert status(other, session)["last"]["outcome"] == "stopped"
    assert stop(other, session).status_code == 204
    assert f"finally {session}" in trace(first)
    assert f"completed {session}" not in trace(first)


async def test_stop_without_a_stream_is_204(pair: tuple[Worker, Worker]) -> None:
    assert stop(pair[0], new_session()).status_code == 204


async def test_reject_is_a_409_envelope(pair: tuple[Worker, Worker]) -> None:
    first, other = pair
    session = new_session()
    async with post(first, session, n=6, gate=session, gate_at=2) as stream:
        seen = await stream.read_events(2)
        refused = raw_post(other, session, n=2)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict_active")
        open_gate(first, session)
        assert ui_text(seen + await stream.read_rest()) == expected_text(6)


async def test_replace_stops_the_old_stream_first(pair: tuple[Worker, Worker]) -> None:
    first, other = pair
    session = new_session()
    async with post(first, session, n=10, gate=session, gate_at=3) as old:
        seen = await old.read_events(5)
        async with post(other, session, path="/api/replace", n=4) as new:
            assert ui_text(await new.read_rest()) == expected_text(4)
        ended = seen + await old.read_rest()
        assert types(ended)[-1] == "abort"
        assert old.ending is Ending.CLEAN
    last = status(first, session)["last"]
    assert last["stream_id"] == new.headers["x-stream-id"]


async def test_join_needs_an_equal_request(pair: tuple[Worker, Worker]) -> None:
    first, other = pair
    session = new_session()
    script: dict[str, object] = {"n": 6, "gate": session, "gate_at": 2}
    async with post(first, session, path="/api/join", **script) as stream:  # type: ignore[arg-type]
        seen = await stream.read_events(4)
        async with post(other, session, path="/api/join", **script) as joined:  # type: ignore[arg-type]
            assert joined.headers["x-stream-id"] == stream.headers["x-stream-id"]
            assert await joined.read_events(4) == seen
            assert raw_post(other, session, path="/api/join", n=7).status_code == 409
            open_gate(first, session)
            rest = await stream.read_rest()
            assert await joined.read_rest() == rest
    assert ui_text(seen + rest) == expected_text(6)
    assert trace(first).count(f"model {session}") == 1
    assert f"model {session}" not in trace(other)


async def test_delete_ends_the_stream_and_erases_the_session(pair: tuple[Worker, Worker]) -> None:
    first, other = pair
    session = new_session()
    async with post(first, session, n=10, gate=session, gate_at=5) as stream:
        await stream.read_events(7)
        async with resume(other.port, session, headers=USER) as remote:
            await remote.read_events(7)
            gone = httpx.delete(f"{other.url}/api/chat/{session}", headers=USER, timeout=20.0, trust_env=False)
            assert gone.status_code == 204
            cursor = remote.cursor
        await stream.read_rest()
    answer = get(first, session)
    assert (answer.status_code, answer.headers["x-resume-reason"]) == (204, "none")
    assert get(first, session, cursor).status_code == 410
    assert status(first, session) == {**status(first, session), "active": None, "last": None}
