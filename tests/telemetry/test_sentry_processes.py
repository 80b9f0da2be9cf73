"""Two processes that Sentry watches, with all that the SDK does by default, a real Redis and a real receiver.

The first worker begins two answers at once, and one that it does not live to end. The second serves a client that comes
back, and ends the orphan. Then the second is killed too.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest

from streamguard.telemetry.safety import short_hash
from tests.cli.running import ran
from tests.e2e.conftest import environment
from tests.harness.redis import RedisServer
from tests.harness.sse import open_sse
from tests.harness.workers import Worker

from .receiver import Item, Receiver, receiving

pytestmark = [pytest.mark.processes, pytest.mark.long]

TRACES: Final = {"left": "a1" * 16, "right": "b2" * 16, "killed": "c3" * 16}
"""The trace in which each session's request arrives."""
OTHER: Final = "ee" * 16
"""The trace of the client that comes back."""
QUICK: Final = {"lease_seconds": 10.0, "sweep_seconds": 0.1}
"""The lease is waited for once, when the first worker is killed. Until then it must not run out, though a worker stands
still on a busy machine: the SDK reads all that is installed when the first request comes."""


class Seen:
    """What arrived."""

    def __init__(self, items: list[Item]) -> None:
        self._items = items

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item.payload for item in self._items if item.type == kind]

    def transactions(self, session: str) -> dict[str, dict[str, Any]]:
        """Those in the trace of the request that began the session's answer, by name."""
        return {
            one["transaction"]: one
            for one in self.of("transaction")
            if one["contexts"]["trace"]["trace_id"] == TRACES[session]
        }

    def message(self, text: str) -> dict[str, Any]:
        (found,) = [one for one in self.of("event") if one.get("message") == text]
        return found

    def check_ins(self) -> list[dict[str, Any]]:
        return self.of("check_in")


def _headers(trace: str) -> dict[str, str]:
    return {"X-User": "ann", "Content-Type": "application/json", "sentry-trace": f"{trace}-{'12' * 8}-1"}


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    with RedisServer() as redis, receiving() as receiver:
        yield {**environment(redis.url, **QUICK), "SENTRY_DSN": receiver.dsn}


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with RedisServer() as redis, receiving() as receiver:
        env = {**environment(redis.url, **QUICK), "SENTRY_DSN": receiver.dsn}
        app = "tests.apps.with_sentry:application"
        with (
            Worker(app, env={**env, "SENTRY_ENVIRONMENT": "first"}) as first,
            Worker(app, env={**env, "SENTRY_ENVIRONMENT": "second"}) as second,
        ):
            asyncio.run(_play(first, second, receiver))
            second.kill()
            yield Seen(receiver.items(flush=False))


async def _arrived(receiver: Receiver, met: Callable[[Seen], object]) -> None:
    await asyncio.to_thread(receiver.wait_for, lambda items: bool(met(Seen(items))), seconds=40)


async def _play(first: Worker, second: Worker, receiver: Receiver) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:

        async def call(worker: Worker, method: str, path: str) -> httpx.Response:
            answer = await client.request(method, worker.url + path, headers=_headers(OTHER))
            answer.raise_for_status()
            return answer

        for session, trace in TRACES.items():
            body = json.dumps({"id": session, "n": 4, "gate": session, "gate_at": 2}).encode()
            async with open_sse(first.port, "/api/chat", method="POST", headers=_headers(trace), body=body) as asked:
                await asked.next_event()  # then the client leaves
        resuming = asyncio.create_task(call(second, "GET", "/api/chat/left/stream"))
        for session in ("right", "left"):
            await call(first, "POST", f"/gate/{session}")
        assert "w3" in (await resuming).text
        await call(first, "POST", "/host")
        await _arrived(receiver, lambda seen: "streamguard.stream" in seen.transactions("left"))
        await _arrived(receiver, lambda seen: "streamguard.stream" in seen.transactions("right"))
        await _arrived(receiver, lambda seen: any(one.get("message") == "of the host" for one in seen.of("event")))
        first.kill()
        await _arrived(receiver, lambda seen: "streamguard.take_over" in seen.transactions("killed"))
        since = len(Seen(receiver.items(flush=False)).check_ins())
        await _arrived(receiver, lambda seen: len(seen.check_ins()) >= since + 4)


def test_request_producer_and_resume_on_another_worker_are_one_trace(seen: Seen) -> None:
    found = seen.transactions("left")
    stream, resume = found["streamguard.stream"], found["streamguard.resume"]
    (request,) = [one for name, one in found.items() if not name.startswith("streamguard.")]
    assert (request["environment"], stream["environment"]) == ("first", "first")
    assert resume["environment"] == "second"
    begun = request["contexts"]["trace"]
    assert begun["parent_span_id"] == "12" * 8
    assert {"streamguard.admit", "streamguard.quota"} <= {span["op"] for span in request["spans"]}
    ours = [span["op"] for span in stream["spans"] if span["op"].startswith("streamguard.")]
    assert sorted(ours) == [
        "streamguard.append",
        "streamguard.first_event",
        "streamguard.persist",
        "streamguard.settle",
    ]
    for one in (stream, resume):
        assert one["contexts"]["trace"]["parent_span_id"] == _parent_in(request)
        assert one["contexts"]["trace"]["trace_id"] == TRACES["left"]
    assert resume["contexts"]["streamguard"]["request_trace_id"] == OTHER
    assert resume["contexts"]["streamguard"]["stream_id"] == stream["contexts"]["streamguard"]["stream_id"]


def _parent_in(request: dict[str, Any]) -> str:
    """The span of the request that called the endpoint."""
    (admit,) = [span for span in request["spans"] if span["op"] == "streamguard.admit"]
    return str(admit["parent_span_id"])


def test_the_end_of_a_dead_workers_stream_is_in_its_trace(seen: Seen) -> None:
    take_over = seen.transactions("killed")["streamguard.take_over"]
    assert take_over["environment"] == "second"
    assert {"streamguard.persist", "streamguard.settle"} <= {span["op"] for span in take_over["spans"]}
    (event,) = [one for one in seen.of("event") if one.get("tags", {}).get("code") == "interrupted"]
    assert event["contexts"]["trace"]["trace_id"] == TRACES["killed"]


def test_what_one_answer_leaves_is_never_on_anothers_event(seen: Seen) -> None:
    for session, other in itertools.permutations(("left", "right")):
        event = seen.message(f"answered {session}")
        assert event["tags"]["answer"] == session
        assert event["tags"]["streamguard.session_hash"] == short_hash(session)
        assert event["tags"]["streamguard.stream_id"] == event["contexts"]["streamguard"]["stream_id"]
        crumbs = json.dumps(event["breadcrumbs"])
        assert f"asked in {session}" in crumbs
        assert f"asked in {other}" not in crumbs
        assert event["contexts"]["trace"]["trace_id"] == TRACES[session]


def test_nor_on_the_hosts_own(seen: Seen) -> None:
    event = seen.message("of the host")
    tags = event.get("tags", {})
    assert "answer" not in tags
    assert not [name for name in tags if name.startswith("streamguard.")]
    assert "asked in" not in json.dumps(event["breadcrumbs"])
    assert "streamguard" not in event["contexts"]


def test_one_worker_checks_in_for_all_and_the_next_one_when_it_is_killed(seen: Seen) -> None:
    """After the last one was killed, nobody does: Sentry finds out by the monitor's schedule and margin."""
    check_ins = seen.check_ins()
    assert {one["monitor_slug"] for one in check_ins} == {"streamguard-reconciler"}
    rounds = [one["environment"] for one in check_ins if one["status"] == "in_progress"]
    assert rounds[-1] == "second"
    takes_turns = [name for name, _ in itertools.groupby(rounds)]
    assert takes_turns in (["second"], ["first", "second"]), "one at a time"
    ends = {one["check_in_id"]: one["status"] for one in check_ins if one["status"] != "in_progress"}
    begun = [one["check_in_id"] for one in check_ins if one["status"] == "in_progress"]
    assert set(ends.values()) == {"ok"}
    assert len(set(begun) - set(ends)) <= 2, "at most the rounds in which a worker was killed"
    assert check_ins[-1]["monitor_config"] == {
        "schedule": {"type": "interval", "value": 1, "unit": "minute"},
        "checkin_margin": 2,
        "max_runtime": 5,
        "failure_issue_threshold": 2,
        "recovery_threshold": 1,
    }


def test_a_round_from_a_crontab_checks_in(env: dict[str, str]) -> None:
    with receiving() as receiver:
        begun = time.monotonic()
        done = ran(
            "reconcile",
            *("--app", "tests.apps.with_sentry:guard", "--once", "--impatient"),
            env={**env, "SENTRY_DSN": receiver.dsn},
        )
        assert done.code == 0, done
        assert time.monotonic() - begun < 60
        found = receiver.wait_for(lambda items: sum(item.type == "check_in" for item in items) >= 2)
    first, last = (item.payload for item in found if item.type == "check_in")
    assert (first["status"], last["status"]) == ("in_progress", "ok")
    assert first["check_in_id"] == last["check_in_id"]
    assert last["duration"] >= 0
