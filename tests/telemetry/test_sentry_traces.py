"""Spans in Sentry's own tracing: in one process, read from the wire. `test_sentry_processes` has several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.tracing import Transaction

from streamguard import Signal
from streamguard.quota import Quota
from streamguard.stores.memory import MemoryStore
from streamguard.telemetry import SentryObserver
from streamguard.telemetry.sentry import before_send_transaction
from streamguard.telemetry.tracing import OpenTelemetryTracing
from streamguard.testing import GuardedApp

from .observed import Worker, asked
from .receiver import Receiver, receiving, sent_to

pytestmark = pytest.mark.anyio

TRACE = "ab" * 16


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one, sent_to(one, traces_sample_rate=1.0):
        yield one


async def asked_within(transaction: Transaction, worker: Worker, chat: GuardedApp) -> None:
    """As an integration for web frameworks does it: the request is a transaction."""
    with sentry_sdk.start_transaction(transaction):
        answer = await asked(chat)
        worker.go.set()
        await answer.rest()
    await chat.ended(answer)


def transactions(receiver: Receiver, *, flush: bool = True) -> dict[str, dict[str, Any]]:
    return {item.payload["transaction"]: item.payload for item in receiver.items("transaction", flush=flush)}


async def save(_: object) -> None:
    """Done."""


async def test_an_answer_is_one_trace_with_its_spans(receiver: Receiver) -> None:
    worker = Worker(quota=Quota(10, "day", "requests"), messages=save)
    async with worker.running() as chat:
        await asked_within(Transaction(name="POST /api/chat", trace_id=TRACE), worker, chat)
    found = transactions(receiver)
    request, stream = found["POST /api/chat"], found["streamguard.stream"]
    assert [span["op"] for span in request["spans"]] == ["streamguard.admit", "streamguard.quota"]
    assert [span["op"] for span in stream["spans"]] == [
        "streamguard.first_event",
        "streamguard.persist",
        "streamguard.settle",
        "streamguard.append",
    ]
    context = stream["contexts"]["trace"]
    assert (context["trace_id"], context["status"]) == (TRACE, "ok")
    assert context["parent_span_id"] == request["contexts"]["trace"]["span_id"]
    admit, quota = request["spans"]
    assert quota["parent_span_id"] == admit["span_id"]
    for span in (*request["spans"], *stream["spans"]):
        assert span["trace_id"] == TRACE
        assert span["description"] == span["op"]
        assert span["start_timestamp"] <= span["timestamp"]
    append = stream["spans"][3]
    assert append["data"]["streamguard.events"] == 8
    for event in (request, stream):
        kept = before_send_transaction(dict(event), {})
        assert kept is not None
        assert kept["contexts"]["trace"]["trace_id"] == TRACE


async def test_a_failed_answer_says_so_and_its_event_is_in_the_trace(receiver: Receiver) -> None:
    worker = Worker()
    worker.fails = True
    async with worker.running() as chat:
        await asked_within(Transaction(name="request", trace_id=TRACE), worker, chat)
    stream = transactions(receiver)["streamguard.stream"]
    assert stream["contexts"]["trace"]["status"] == "internal_error"
    (event,) = receiver.events()
    assert event["contexts"]["trace"]["trace_id"] == TRACE


async def test_the_transaction_of_a_stream_holds_nothing_of_the_hosts_scopes(receiver: Receiver) -> None:
    worker = Worker()
    async with worker.running() as chat:
        sentry_sdk.set_user({"email": "canary@example.org"})
        sentry_sdk.add_breadcrumb(message="canary")
        sentry_sdk.set_tag("question", "canary")
        await asked_within(Transaction(name="request"), worker, chat)
    found = transactions(receiver)
    assert "canary" in repr(found["request"])
    assert "canary" not in repr(found["streamguard.stream"])


@pytest.mark.parametrize("options", [{}, {"traces_sample_rate": 0.0}, {"traces_sampler": lambda _: 0.0}])
async def test_what_the_host_does_not_record_has_no_spans(options: dict[str, Any]) -> None:
    with receiving() as receiver, sent_to(receiver, **options):
        worker = Worker()
        async with worker.running() as chat:
            await asked_within(Transaction(name="request"), worker, chat)
        assert transactions(receiver) == {}


async def test_a_stream_that_no_request_began_is_sampled_by_the_hosts_rate(receiver: Receiver) -> None:
    worker = Worker()
    async with worker.running(), worker.guard.start("ann", "background") as run:
        await run.send("one")
    assert transactions(receiver)["streamguard.stream"]["contexts"]["trace"]["status"] == "ok"


async def test_a_client_that_comes_back_joins_the_trace(receiver: Receiver) -> None:
    worker = Worker()
    async with worker.running() as chat:
        with sentry_sdk.start_transaction(name="POST", trace_id=TRACE):
            answer = await asked(chat)
        with sentry_sdk.start_transaction(name="GET", trace_id="cd" * 16):
            resumed = await chat.resume("s")
            worker.go.set()
            await resumed.rest()
        await answer.rest()
        await chat.ended(answer)
    found = transactions(receiver)
    resume = found["streamguard.resume"]["contexts"]["trace"]
    assert resume["trace_id"] == TRACE
    assert resume["parent_span_id"] == found["POST"]["contexts"]["trace"]["span_id"]
    assert found["streamguard.resume"]["contexts"]["streamguard"]["request_trace_id"] == "cd" * 16


async def test_no_spans_beside_another_observer_that_traces(receiver: Receiver) -> None:
    """None is there twice."""
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 -- takes a while

    worker = Worker(observers=(OpenTelemetryTracing(TracerProvider()),))
    async with worker.running() as chat:
        await asked_within(Transaction(name="request"), worker, chat)
    assert set(transactions(receiver)) == {"request"}
    assert transactions(receiver)["request"]["spans"] == []


async def test_a_host_may_want_spans_or_none(receiver: Receiver) -> None:
    worker = Worker(observers=(SentryObserver(spans=False),))
    async with worker.running() as chat:
        await asked_within(Transaction(name="request"), worker, chat)
    assert set(transactions(receiver)) == {"request"}


@pytest.mark.long
async def test_a_takeover_joins_the_trace(receiver: Receiver) -> None:
    store = MemoryStore()
    one, two = Worker(store, lease_seconds=1.0, sweep_seconds=30.0), Worker(store)
    async with one.running() as chat:
        with sentry_sdk.start_transaction(name="POST", trace_id=TRACE):
            answer = await asked(chat)
        opened = await one.told.of(Signal.STREAM_OPENED)
        assert opened.ref is not None
        await store.take_over(opened.ref, lease_seconds=0.0, force=True)
        async with two.running():
            await two.told.of(Signal.ORPHAN_SETTLED)
        await answer.rest()
    found = transactions(receiver)
    assert found["streamguard.take_over"]["contexts"]["trace"]["trace_id"] == TRACE
