"""Who ends a stream, and how: its model, a limit, a stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from streamguard.errors import FaultError, InvalidPartError, StreamLimitError
from streamguard.faults import Fault, FaultCode
from streamguard.runtime import FirstItem
from streamguard.runtime.producing.backlog import BACKLOG_BYTES
from streamguard.runtime.producing.failures import fault_of
from streamguard.runtime.viewing.feed import EVENT_BYTES
from streamguard.settings import Settings
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import EventKind, Outcome, SessionKey

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, closed, log_of, payloads, quick, read, saying, terminals, working

pytestmark = pytest.mark.anyio


class ProviderError(Exception):
    """As provider SDKs make them."""

    def __init__(self, status: int | None = None, retry_after: str | None = None) -> None:
        super().__init__("the provider's own words")
        self.response = Response(status, {} if retry_after is None else {"retry-after": retry_after})


class Response:
    def __init__(self, status: int | None, headers: dict[str, str]) -> None:
        self.status_code = status
        self.headers = headers


class StatusError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("the provider's own words")
        self.status_code = status


class HostError(StatusError):
    """As a framework's HTTPException."""

    detail = "no such model"


class ReadTimeout(Exception):  # noqa: N818 -- as httpx calls it
    pass


class APIConnectionError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "code", "more"),
    [
        (ProviderError(429, "7"), FaultCode.PROVIDER_RATE_LIMITED, {"retry_after_seconds": 7}),
        (ProviderError(429, "99999"), FaultCode.PROVIDER_RATE_LIMITED, {"retry_after_seconds": 3600}),
        (ProviderError(429, "soon"), FaultCode.PROVIDER_RATE_LIMITED, {"retry_after_seconds": 5}),
        (StatusError(429), FaultCode.PROVIDER_RATE_LIMITED, {"retry_after_seconds": 5}),
        (ProviderError(504), FaultCode.PROVIDER_TIMEOUT, {}),
        (ReadTimeout(), FaultCode.PROVIDER_TIMEOUT, {}),
        (TimeoutError(), FaultCode.PROVIDER_TIMEOUT, {}),
        (ConnectionResetError(), FaultCode.PROVIDER_ABORTED, {}),
        (APIConnectionError(), FaultCode.PROVIDER_ABORTED, {}),
        (StatusError(400), FaultCode.PROVIDER_ERROR, {"retryable": False}),
        (StatusError(500), FaultCode.PROVIDER_ERROR, {}),
        (ProviderError(), FaultCode.PROVIDER_ERROR, {}),
        (RuntimeError(), FaultCode.INTERNAL, {"status": 500, "retryable": False}),
        (HostError(404), FaultCode.REQUEST_INVALID, {"status": 404}),
        (HostError(500), FaultCode.INTERNAL, {"status": 500}),
        (InvalidPartError("x", protocol="plain"), FaultCode.INTERNAL, {}),
        (
            StreamLimitError("x", limit="max_stream_bytes", code="too_long"),
            FaultCode.TOO_LONG,
            {"reason": "max_stream_bytes"},
        ),
        (FaultError(Fault.of(FaultCode.QUOTA_EXCEEDED)), FaultCode.QUOTA_EXCEEDED, {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_what_an_exception_means(
    memory: MemoryStore, error: Exception, code: FaultCode, more: dict[str, object]
) -> None:
    async with working(memory) as worker:
        stream = await worker.start(saying("x"))
        fault = fault_of(error, stream)
        await stream.ended()
    assert fault.code is code
    assert {name: getattr(fault, name) for name in more} == more
    assert "own words" not in fault.to_json().decode()


async def test_a_failure_after_some_events(stores: Stores, look: StreamStore) -> None:
    """A fault in the log, the client's state left tidy, one terminal; the exception is kept for Sentry, once."""
    async with working(stores()) as worker:
        model = Model("Hel")
        error = ProviderError()
        model.fail(error)
        stream = await worker.start(model, worker.request(protocol="ui-message"))
        reading = await worker.watch(stream)
        await closed(look, stream.ref)
    (seen,) = [observation for observation in worker.observed if observation.fault is not None and observation.error]
    assert seen.error is error
    assert [kind for _, kind, _ in await log_of(look, stream.ref)] == [
        EventKind.DATA,
        EventKind.DATA,
        EventKind.DATA,
        EventKind.DATA,
        EventKind.NOTICE,
        EventKind.CLOSING,
        EventKind.TERMINAL,
    ]
    assert '"text-end"' in reading.events[3].data
    assert reading.over
    (terminal,) = terminals(await log_of(look, stream.ref))
    assert terminal.outcome is Outcome.FAILED
    assert terminal.fault is not None
    assert terminal.fault.code is FaultCode.PROVIDER_ERROR


async def test_an_endpoint_that_never_had_items_is_rejected(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await worker.open()
        error = HostError(404)
        await worker.runtime.reject(stream, error)
        assert (stream.first_answer.error, await stream.first(1)) == (error, FirstItem.FAILED)
        assert stream.fault is not None
        assert stream.fault.status == 404
        meta = await closed(memory, stream.ref)
        assert meta.seal is not None
        assert meta.seal.last_seq == 0


async def test_cancelling_a_rejection_still_ends_the_stream(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        stream = await worker.open()
        line.hold("seal")
        rejecting = asyncio.create_task(worker.runtime.reject(stream, RuntimeError()))
        await wait_until_async(lambda: line.waiting["seal"], description="it is being sealed")
        rejecting.cancel()
        await asyncio.wait([rejecting])
        line.let_go("seal")
        await closed(memory, stream.ref)


@pytest.mark.parametrize(
    ("limits", "items", "code", "reason"),
    [
        ({"max_stream_events": 3}, ["a"] * 9, FaultCode.TOO_LONG, "max_stream_events"),
        (
            {"max_stream_bytes": 1_000, "max_event_bytes": 1_000},
            ["a" * 400] * 9,
            FaultCode.TOO_LONG,
            "max_stream_bytes",
        ),
        ({"max_event_bytes": 1_000, "max_stream_events": 2}, ["b" * 9_000], FaultCode.TOO_LONG, "max_stream_events"),
    ],
)
async def test_size_limits(
    memory: MemoryStore, limits: dict[str, int], items: list[str], code: FaultCode, reason: str
) -> None:
    async with working(memory, quick(**limits)) as worker:
        model = Model(*items)
        stream = await worker.start(model)
        reading = await worker.watch(stream)
        await closed(memory, stream.ref)
    assert reading.notices == [(str(code), reason)]
    assert reading.outcome == "failed"
    assert model.left.is_set(), "the generator was closed"
    assert len(payloads(await log_of(memory, stream.ref))) <= 3


@pytest.mark.parametrize(
    ("limits", "item", "events"),
    [
        ({"max_stream_events": 3_000}, "x", 3_000),
        ({"max_stream_events": 500}, "x" * 300, 500),
        ({"max_stream_bytes": 10_000, "max_event_bytes": 10_000}, "x" * 7, 1_428),
        ({"max_stream_bytes": 10_000, "max_event_bytes": 10_000}, "x" * 1_000, 10),
    ],
)
async def test_limits_of_the_whole_are_exact(
    memory: MemoryStore, limits: dict[str, int], item: str, events: int
) -> None:
    """Though most events are not held against each of them."""

    async def endless() -> AsyncIterator[object]:
        while True:
            yield item

    async with working(memory, quick(**limits)) as worker:
        reading = await worker.tell(endless)
    assert reading.text == item * events
    assert reading.notices == [("too_long", next(iter(limits)))]


async def test_a_model_is_held_back_by_the_event_that_is_too_far_ahead(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, quick(max_event_bytes=8_000_000, append_deadline_seconds=5.0)) as worker:
        line.hold("append")
        model = Model(*["x" * 100_000] * 40)
        model.end()
        stream = await worker.start(model)
        reading = asyncio.create_task(worker.watch(stream))
        await wait_until_async(lambda: stream.backlog.over_capacity, description="the model is held back")
        assert stream.backlog.pending_bytes <= BACKLOG_BYTES + 100_000 + EVENT_BYTES
        line.let_go("append")
        assert (await reading).text == "x" * 4_000_000


async def test_an_event_over_the_limit_by_the_runtimes_own_hand(memory: MemoryStore) -> None:
    """Opaque blocks are checked by size when they are logged too."""
    async with working(memory, quick(max_event_bytes=1_000)) as worker:
        stream = await worker.open()
        with pytest.raises(Exception, match="max_event_bytes"):
            stream.emit(EventKind.DATA, b"x" * 1_001)
        await worker.runtime.reject(stream, RuntimeError())


@pytest.mark.parametrize(
    ("limit", "items", "code"),
    [
        ("first_item_seconds", [], FaultCode.PROVIDER_TIMEOUT),
        ("stall_seconds", ["a"], FaultCode.STALLED),
        ("max_stream_seconds", ["a"], FaultCode.TOO_LONG),
    ],
)
@pytest.mark.parametrize("by", ["settings", "request"])
async def test_time_limits(memory: MemoryStore, limit: str, items: list[str], code: FaultCode, by: str) -> None:
    settings = quick(keep_alive_seconds=0.1, **({limit: 0.08} if by == "settings" else {}))
    async with working(memory, settings) as worker:
        model = Model(*items)
        request = worker.request(**({limit: 0.08} if by == "request" else {}))  # type: ignore[arg-type]
        stream = await worker.start(model, request)
        assert await stream.first(5) is (FirstItem.READY if items else FirstItem.FAILED)
        reading = await worker.watch(stream)
        await closed(memory, stream.ref)
    assert reading.notices == [(str(code), limit)]
    assert model.left.is_set()


async def test_waiting_for_the_store_is_not_the_models_silence(memory: MemoryStore) -> None:
    line = Line(memory)
    settings = quick(stall_seconds=0.1, append_deadline_seconds=5.0, registration_seconds=5.0)  # the first's deadline
    async with working(line, settings) as worker:
        line.hold("append")
        model = Model(*["x" * 400_000] * 6)
        model.end()
        stream = await worker.start(model)
        reading = asyncio.create_task(worker.watch(stream))
        await wait_until_async(lambda: stream.backlog.over_capacity, description="the model is held back")
        before = stream.activity.last_item_at
        await wait_until_async(lambda: stream.activity.last_item_at > before + 0.2, description="time passed")
        line.let_go("append")
        assert (await reading).outcome == "completed"


def test_settings_are_checked() -> None:
    make: Callable[..., Settings] = quick
    with pytest.raises(ValueError, match="heartbeat_seconds"):
        make(heartbeat_seconds=0.3)


async def test_read_of_an_ended_stream(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await worker.start(saying("a"))
        await stream.ended()
        assert (await read(worker.view(stream))).text == "a"
        assert await stream.first(0) is FirstItem.READY


# -- stop --------------------------------------------------------------------------------------------------------------


async def test_stop_reaches_a_quiet_model(stores: Stores, look: StreamStore) -> None:
    """From another worker, while the model says nothing: the writer hears the hint."""
    async with working(stores()) as one, working(stores()) as two:
        model = Model("a")
        stream = await one.start(model, one.request(protocol="ui-message"))
        await stream.first(5)
        reading = asyncio.create_task(one.watch(stream))
        assert await two.runtime.sessions.stop(KEY) is not None
        assert [event.data for event in (await reading).events][-2:] == ['{"type":"abort"}', "[DONE]"]
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert (meta.seal.outcome, stream.stopped, stream.fault) == (Outcome.STOPPED, True, None)
        assert await two.runtime.sessions.stop(KEY) is None


@pytest.mark.parametrize("by", ["append", "heartbeat"])
async def test_stop_reaches_a_writer_that_hears_no_hint(memory: MemoryStore, by: str) -> None:
    line = Line(memory)
    line.broken = {"listen"}
    async with working(line, quick(heartbeat_seconds=0.1 if by == "heartbeat" else 0.2)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        await memory.request_stop(stream.ref)
        if by == "append":
            model.say("b")
        assert (await worker.watch(stream)).outcome == "stopped"


async def test_stop_before_anything_was_said(stores: Stores, look: StreamStore) -> None:
    async with working(stores()) as worker:
        stream = await worker.start(Model(), worker.request(protocol="ui-message"))
        await worker.runtime.sessions.stop(KEY)
        reading = await worker.watch(stream)
        await closed(look, stream.ref)
    assert [event.data.split('"')[3] if "{" in event.data else event.data for event in reading.events] == [
        "start",
        "abort",
        "[DONE]",
    ]


async def test_stop_before_launch_ends_the_stream_at_once(memory: MemoryStore) -> None:
    """Its endpoint has no iterator yet: nothing needs time to clean up."""
    async with working(memory, quick(keep_alive_seconds=0.1)) as worker:
        stream = await worker.open()
        await worker.runtime.sessions.stop(KEY)
        await asyncio.wait_for(stream.ended(), 2)
        model = Model("never")
        worker.runtime.launch(stream, model)
        await worker.idle()
        assert (model.calls, (await closed(memory, stream.ref)).last_seq) == (0, 1)


async def test_stop_racing_the_natural_end(memory: MemoryStore) -> None:
    """Whichever the seal decides, there is one end, and the viewer's is the log's."""
    outcomes = set()
    async with working(memory, quick(max_streams_per_owner=1000)) as worker:
        for turns in range(12):
            key = SessionKey("ana", f"race-{turns}")
            model = Model("a")
            stream = await worker.start(model, worker.request(key))
            await stream.first(5)
            model.end()
            for _ in range(turns):
                await asyncio.sleep(0)
            await worker.runtime.sessions.stop(key)
            reading = await worker.watch(stream)
            meta = await closed(memory, stream.ref)
            assert meta.seal is not None
            assert reading.outcome == meta.seal.outcome
            outcomes.add(reading.outcome)
    assert outcomes == {"stopped", "completed"}


async def test_a_stop_flag_never_turns_a_sealed_end_into_a_stop(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        line.hold("close")
        stream = await worker.start(saying("a"))
        await wait_until_async(lambda: line.waiting["close"], description="it is sealed")
        assert await worker.runtime.sessions.stop(KEY) is None
        stream.stop()
        line.let_go("close")
        assert (await worker.watch(stream)).outcome == "completed"
