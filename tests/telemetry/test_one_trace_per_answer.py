"""One trace per answer, whoever works on it: two processes, a real Redis, the OpenTelemetry SDK.

The first worker begins four answers, each in a trace of its own. The second one serves a client that comes back for the
first, stops the second, takes over the third when its producer is killed, and makes the save that the fourth owes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx
import pytest

from tests.e2e.conftest import environment
from tests.harness.redis import RedisServer
from tests.harness.sse import open_sse
from tests.harness.waiting import wait_until_async
from tests.harness.workers import Worker

pytestmark = [pytest.mark.processes, pytest.mark.long]

TRACES: Final = {"resumed": "a1" * 16, "stopped": "b2" * 16, "killed": "c3" * 16, "owed": "d4" * 16}
"""The trace in which each session's request arrives."""
OTHER: Final = "ee" * 16
"""The trace of whoever comes later."""
PROMPT: Final = "canary-of-a-prompt"
QUICK: Final = {"lease_seconds": 1.5, "outbox_seconds": 0.2, "outbox_retry_seconds": 0.2, "save_total_seconds": 0.5}


@dataclass(frozen=True)
class Span:
    """A span, as its process wrote it."""

    worker: str
    name: str
    trace: str
    id: str
    parent: str | None
    status: str
    attributes: dict[str, Any]
    events: tuple[str, ...]
    links: tuple[str, ...]
    """The traces that it links to."""

    @classmethod
    def of(cls, worker: str, line: str) -> Self:
        read = json.loads(line)
        return cls(
            worker,
            read["name"],
            _hex(read["context"]["trace_id"]),
            _hex(read["context"]["span_id"]),
            None if read["parent_id"] is None else _hex(read["parent_id"]),
            " ".join(read["status"].values()),
            read["attributes"],
            tuple(event["name"] for event in read["events"]),
            tuple(_hex(link["context"]["trace_id"]) for link in read["links"]),
        )


def _hex(text: str) -> str:
    return text.removeprefix("0x")


class Spans:
    """All spans that both workers have ended so far."""

    def __init__(self, directory: Path, workers: dict[int, str]) -> None:
        self._directory = directory
        self._workers = workers

    def all(self) -> list[Span]:
        return [
            Span.of(self._workers.get(int(path.stem), "other"), line)
            for path in sorted(self._directory.glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]

    def of(self, session: str) -> list[Span]:
        """Those in the trace of the request that began the session's answer."""
        return [span for span in self.all() if span.trace == TRACES[session]]

    def one(self, session: str, name: str, *, worker: str | None = None) -> Span:
        (span,) = [one for one in self.of(session) if one.name == name and worker in (None, one.worker)]
        return span

    async def ended(self, session: str, name: str) -> None:
        """Wait for a span."""
        await wait_until_async(
            lambda: any(span.name == name for span in self.of(session)), description=f"{name} of {session}", timeout=40
        )

    def text(self) -> str:
        return "".join(path.read_text() for path in self._directory.glob("*.jsonl"))


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spans]:
    """Play all four answers, and kill the first worker."""
    directory = tmp_path_factory.mktemp("spans")
    with RedisServer() as redis:
        env = {**environment(redis.url, **QUICK), "TRACED_SPANS": str(directory)}
        app = "tests.apps.traced:application"
        with Worker(app, env=env) as first, Worker(app, env=env) as second:
            written = Spans(directory, {first.pid: "first", second.pid: "second"})
            asyncio.run(_play(first, second, written, directory))
            second.terminate()
            second.wait_exit(20)
            yield written


def _headers(trace: str) -> dict[str, str]:
    return {
        "X-User": "ann",
        "Content-Type": "application/json",
        "traceparent": f"00-{trace}-{'12' * 8}-01",
        "Authorization": PROMPT,
    }


async def _play(first: Worker, second: Worker, spans: Spans, directory: Path) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:

        async def ask(session: str) -> None:
            script = {"id": session, "n": 4, "gate": session, "gate_at": 2, "messages": [PROMPT]}
            body = json.dumps(script).encode()
            headers = _headers(TRACES[session])
            async with open_sse(first.port, "/api/chat", method="POST", headers=headers, body=body) as connection:
                await connection.next_event()  # then the client leaves

        async def call(worker: Worker, method: str, path: str) -> httpx.Response:
            answer = await client.request(method, worker.url + path, headers=_headers(OTHER))
            answer.raise_for_status()
            return answer

        (directory / "fail-owed").touch()
        for session in TRACES:
            await ask(session)
        resuming = asyncio.create_task(call(second, "GET", "/api/chat/resumed/stream"))
        await call(first, "POST", "/gate/resumed")
        assert "w3" in (await resuming).text
        await call(second, "POST", "/api/chat/stopped/stop")
        await call(first, "POST", "/gate/owed")
        for session in ("resumed", "stopped", "owed"):
            await spans.ended(session, "streamguard.stream")
        first.kill()
        (directory / "fail-owed").unlink()
        await spans.ended("killed", "streamguard.take_over")
        await wait_until_async(
            lambda: any("streamguard.save_recovered" in span.events for span in spans.of("owed")),
            description="the second worker makes the save",
            timeout=40,
        )


def children(spans: Sequence[Span], parent: Span) -> list[str]:
    return sorted(span.name for span in spans if span.parent == parent.id)


def test_an_answer_is_below_its_request(spans: Spans) -> None:
    all_spans = spans.of("resumed")
    (request,) = [span for span in all_spans if span.name == "POST /api/chat"]
    assert request.parent == "12" * 8
    assert {"streamguard.admit", "streamguard.stream"} <= set(children(all_spans, request))
    admit, stream = spans.one("resumed", "streamguard.admit"), spans.one("resumed", "streamguard.stream")
    assert children(all_spans, admit) == ["streamguard.quota"]
    assert children(all_spans, stream) == [
        *["host.model"] * 4,
        "streamguard.append",
        "streamguard.first_event",
        "streamguard.persist",
        "streamguard.settle",
    ]
    assert (stream.attributes["streamguard.outcome"], stream.status) == ("completed", "UNSET")
    assert "streamguard.viewer_left" in stream.events


def test_one_span_for_all_events(spans: Spans) -> None:
    (append,) = [span for span in spans.of("resumed") if span.name == "streamguard.append"]
    assert append.attributes["streamguard.events"] > 4


def test_a_client_that_comes_back_to_another_worker_joins_the_trace(spans: Spans) -> None:
    resume = spans.one("resumed", "streamguard.resume", worker="second")
    (request,) = [span for span in spans.of("resumed") if span.name == "POST /api/chat"]
    assert resume.parent == request.id
    assert resume.links == (OTHER,)
    (returning,) = [span for span in spans.all() if span.name.startswith("GET /api/chat") and span.trace == OTHER]
    assert returning.links == (TRACES["resumed"],)
    assert {"streamguard.viewer_joined", "streamguard.viewer_left"} <= set(resume.events)


def test_a_stop_on_another_worker_joins_the_trace(spans: Spans) -> None:
    stop, stream = spans.one("stopped", "streamguard.stop"), spans.one("stopped", "streamguard.stream")
    assert (stop.worker, stream.worker) == ("second", "first")
    assert stop.links == (OTHER,)
    assert stop.events == ("streamguard.stop_requested",)
    assert (stream.attributes["streamguard.outcome"], stream.status) == ("stopped", "UNSET")


def test_the_end_of_a_killed_workers_stream_joins_the_trace(spans: Spans) -> None:
    all_spans = spans.of("killed")
    assert not [span for span in all_spans if span.name == "streamguard.stream"]  # its process could not end it
    admit, taken = spans.one("killed", "streamguard.admit"), spans.one("killed", "streamguard.take_over")
    assert (admit.worker, taken.worker) == ("first", "second")
    assert taken.parent == admit.parent
    assert taken.links == ()
    assert taken.status == "ERROR interrupted"
    assert taken.attributes["streamguard.code"] == "interrupted"
    assert children(all_spans, taken) == ["streamguard.persist", "streamguard.settle"]


def test_a_save_that_another_worker_makes_up_for_joins_the_trace(spans: Spans) -> None:
    failed, stream = spans.one("owed", "streamguard.persist", worker="first"), spans.one("owed", "streamguard.stream")
    assert failed.parent == stream.id
    assert failed.status.startswith("ERROR")
    assert "streamguard.save_failed" in failed.events
    assert stream.attributes["streamguard.persisted"] == "pending"
    (paid,) = [span for span in spans.of("owed") if "streamguard.save_recovered" in span.events]
    assert (paid.name, paid.worker, paid.status) == ("streamguard.outbox", "second", "UNSET")
    admit = spans.one("owed", "streamguard.admit")
    assert paid.parent == admit.parent


def test_every_span_of_a_stream_is_in_its_requests_trace(spans: Spans) -> None:
    ours = [span for span in spans.all() if span.name.startswith("streamguard.")]
    assert {span.trace for span in ours} == set(TRACES.values())
    ids = {span.attributes["streamguard.stream_id"] for span in ours if "streamguard.stream_id" in span.attributes}
    assert len(ids) == len(TRACES)
    for stream_id in ids:
        assert len({span.trace for span in ours if span.attributes.get("streamguard.stream_id") == stream_id}) == 1


def test_no_span_holds_content(spans: Spans) -> None:
    of_ours = [span for span in spans.all() if span.name.startswith("streamguard.")]
    assert PROMPT not in repr(of_ours)
    assert "w1 " not in repr(of_ours)
    assert '"ann"' not in spans.text()
