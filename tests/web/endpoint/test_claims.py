"""Which request of those with one key runs, when the store, or the request that was first, fails on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streamguard.errors import FaultError, StoreCorruptError, StoreFormatError
from streamguard.faults import FaultCode
from streamguard.observations import Signal
from streamguard.runtime import FirstItem, LiveStream, OnConflict
from streamguard.runtime.opening.keyed_request import ROUNDS
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import RequestClaim, StreamMeta
from streamguard.values import START, Outcome, SessionKey, StreamRef, new_stream_id
from tests.harness.waiting import wait_until_async
from tests.runtime.lines import Line
from tests.runtime.stage import KEY, Model, Worker, closed, quick, read, saying, working

from ..claiming import THE_KEY, answering, ask, away, claimed, refused, told

pytestmark = pytest.mark.anyio

# -- the store fails --------------------------------------------------------------------------------------------------


async def test_without_a_store_it_runs_unlogged() -> None:
    store = Line(MemoryStore())
    store.errors["claim_request"] = [away()] * 100
    async with working(store, quick(breaker_probe_seconds=60.0)) as worker:
        stream = await ask(worker)
        assert isinstance(stream, LiveStream)
        assert stream.degraded
        # Nobody after it waits for the store.
        left = len(store.errors["claim_request"])
        another = await worker.runtime.idempotent_opening.open(worker.request(SessionKey("ana", "chat-2")), THE_KEY)
        assert isinstance(another, LiveStream)
        assert len(store.errors["claim_request"]) == left
        for degraded in (stream, another):
            worker.runtime.launch(degraded, saying("hello"))
            await degraded.ended()


async def test_without_a_store_it_is_refused_where_the_endpoint_says_so() -> None:
    store = Line(MemoryStore())
    store.errors["claim_request"] = [away()] * 100
    async with working(store) as worker:
        assert await refused(worker, on_store_failure="fail") == (FaultCode.STORE_UNAVAILABLE, None)
        assert worker.runtime.health().streams == 0


async def test_a_stumble_is_tried_again() -> None:
    store = Line(MemoryStore())
    store.errors["claim_request"] = [away(), None, away()]
    async with working(store) as worker:
        stream = await told(worker)
        assert not stream.degraded
        assert (await claimed(store)).ref == stream.ref


async def test_a_damaged_claim_stops_nobody_but_a_later_versions_does() -> None:
    store = Line(MemoryStore())
    async with working(store) as worker:
        store.errors["claim_request"] = [StoreFormatError("newer", operation="claim_request")]
        assert await refused(worker) == (FaultCode.STORE_UNAVAILABLE, "newer_format")
        store.errors["claim_request"] = [StoreCorruptError("damaged", operation="claim_request")]
        assert await refused(worker, on_store_failure="fail") == (FaultCode.STORE_UNAVAILABLE, "record_unreadable")
        store.errors["claim_request"] = [StoreCorruptError("damaged", operation="claim_request")]
        stream = await told(worker)
        assert not stream.degraded


async def test_a_stream_that_is_not_registered_answers_for_no_other() -> None:
    """The store took the claim and then nothing more: the answer goes on unlogged, and the next request has its own."""
    store = Line(MemoryStore())
    async with working(store, quick(breaker_probe_seconds=0.02)) as worker:
        store.errors["register"] = [away("register")] * 100
        unlogged = await told(worker)
        assert unlogged.degraded
        assert (await claimed(store)).fingerprint == THE_KEY.fingerprint
        store.errors["register"] = []
        await wait_until_async(lambda: not worker.runtime.breaker.open, description="the store is back")
        again = await told(worker)
        assert not again.degraded
        assert again.ref != unlogged.ref


async def test_whether_the_claim_still_stands_may_not_be_known() -> None:
    """It most likely does: the answer goes on."""
    store = Line(MemoryStore())
    async with working(store) as worker:
        store.errors["claim_request"] = [None, *[away()] * 100]
        stream = await told(worker)
        assert stream.log.registered


async def test_but_some_would_rather_fail() -> None:
    store = Line(MemoryStore())
    async with working(store) as worker:
        store.errors["claim_request"] = [None, *[away()] * 100]
        assert await refused(worker, on_store_failure="fail") == (FaultCode.STORE_UNAVAILABLE, None)
        await worker.idle()
        last = (await store.session(KEY)).last
        assert last is not None
        assert last.seal is not None
        assert (last.seal.outcome, last.seal.last_seq) == (Outcome.FAILED, 0)


async def test_a_request_that_runs_elsewhere_is_not_run_here_for_want_of_a_store() -> None:
    store = Line(MemoryStore())
    async with working(store) as worker:
        await told(worker)
        store.errors["meta"] = [away("meta")] * 100
        assert await refused(worker) == (FaultCode.STORE_UNAVAILABLE, None)
        store.errors["meta"] = []


# -- the first request fails ------------------------------------------------------------------------------------------


async def test_the_second_waits_for_the_firsts_first_word() -> None:
    store = MemoryStore()
    async with working(store) as one, working(store) as other:
        model = Model()
        first = await answering(one, model)
        second = asyncio.create_task(ask(other))
        await model.started.wait()
        assert not second.done()
        model.say("hello")
        meta = await second
        assert isinstance(meta, StreamMeta)
        assert meta.ref == first.ref
        assert [seen.ref for seen in other.signals(Signal.STREAM_RESUMED)] == [first.ref]
        viewer = other.runtime.resume_view(meta, START, ids=True)
        model.end()
        assert (await read(viewer)).text == "hello"


async def test_but_not_for_ever() -> None:
    store = MemoryStore()
    async with working(store) as one, working(store, quick(headers_after_seconds=0.05)) as other:
        model = Model()
        first = await answering(one, model)
        meta = await ask(other)
        assert isinstance(meta, StreamMeta)
        assert (meta.ref, meta.last_seq) == (first.ref, 0)
        model.end()
        await first.ended()


async def test_the_second_runs_when_the_first_fails_before_its_first_word() -> None:
    store = MemoryStore()
    async with working(store) as one, working(store) as other:
        model = Model()
        first = await answering(one, model)
        second = asyncio.create_task(ask(other))
        await model.started.wait()
        model.fail(RuntimeError("no"))
        assert await first.first(5.0) is FirstItem.FAILED
        stream = await second
        assert isinstance(stream, LiveStream)
        assert (await claimed(store)).ref == stream.ref
        other.runtime.launch(stream, saying("hello"))
        await stream.ended()


@pytest.mark.parametrize("on_conflict", ["reject", "replace"])
async def test_a_claim_without_a_stream_is_taken_over(on_conflict: OnConflict) -> None:
    """By one of those that wait for it."""
    store = MemoryStore()
    orphan = RequestClaim(StreamRef(KEY, new_stream_id()), THE_KEY.fingerprint)
    await claimed(store, orphan)
    async with working(store) as one, working(store) as other:

        async def answer(worker: Worker) -> StreamRef:
            opened = await ask(worker, on_conflict=on_conflict)
            if isinstance(opened, LiveStream):
                worker.runtime.launch(opened, saying("hello"))
            return opened.ref

        refs = await asyncio.gather(answer(one), answer(other))
        assert refs[0] == refs[1] != orphan.ref
        await one.idle()
        await other.idle()


async def test_a_request_that_is_refused_leaves_its_key_free() -> None:
    store = MemoryStore()
    async with working(store, quick(registration_seconds=60.0)) as worker:
        model = Model("hello")
        running = await worker.start(model)
        assert await refused(worker) == (FaultCode.CONFLICT_ACTIVE, None)
        free = RequestClaim(StreamRef(KEY, new_stream_id()), "free")
        assert await claimed(store, free) == free
        await store.release_request(KEY.owner, THE_KEY.name, free)
        model.end()
        await running.ended()
        async with asyncio.timeout(10):
            stream = await told(worker)
        assert (await claimed(store)).ref == stream.ref


async def test_who_waits_for_a_request_that_is_refused_goes_first() -> None:
    store = Line(MemoryStore())
    other = RequestClaim(StreamRef(KEY, new_stream_id()), THE_KEY.fingerprint)
    await claimed(store, other)
    async with working(store, quick(registration_seconds=60.0)) as worker:
        waiting = asyncio.create_task(told(worker))
        await wait_until_async(lambda: store.calls["claim_request"] > 2, description="it waits")
        assert await store.release_request(KEY.owner, THE_KEY.name, other)
        async with asyncio.timeout(10):
            stream = await waiting
        assert (await claimed(store)).ref == stream.ref


@pytest.mark.parametrize("meanwhile", ["runs", "is over"])
async def test_a_first_request_that_comes_late_joins_the_one_that_took_its_place(meanwhile: str) -> None:
    """Whether it is in the way of that one's stream or not: its endpoint does not run."""
    store = MemoryStore()
    line = Line(store)
    line.hold("register")
    patient, impatient = quick(registration_seconds=30.0), quick(registration_seconds=0.05)
    async with working(line, patient) as late, working(store, impatient) as other:
        first = asyncio.create_task(ask(late))
        await wait_until_async(lambda: line.waiting["register"], description="the first request registers")
        model = Model("hello")
        winner = await answering(other, model)
        await winner.first(5.0)
        if meanwhile == "is over":
            model.end()
            await closed(store, winner.ref)
        line.let_go("register")
        joined = await first
        assert isinstance(joined, StreamMeta)
        assert joined.ref == winner.ref == (await claimed(store)).ref
        model.end()
        await winner.ended()
        await late.idle()


# -- others -----------------------------------------------------------------------------------------------------------


async def test_a_key_stands_for_the_stream_its_request_joined() -> None:
    store = MemoryStore()
    async with working(store) as worker:
        model = Model("hello")
        running = await worker.start(model, worker.request(fingerprint="same"))
        await running.first(5.0)
        joined = await ask(worker, on_conflict="join", fingerprint="same")
        assert isinstance(joined, StreamMeta)
        model.end()
        await closed(store, running.ref)
        again = await ask(worker, on_conflict="join", fingerprint="same")
        assert isinstance(again, StreamMeta)
        assert joined.ref == again.ref == running.ref
        await worker.idle()


async def test_a_key_that_never_comes_to_rest_is_given_up() -> None:
    store = Line(MemoryStore())
    async with working(store) as worker:
        others = [RequestClaim(StreamRef(KEY, new_stream_id()), THE_KEY.fingerprint) for _ in range(2 * ROUNDS)]
        store.answers["claim_request"] = [*others]
        assert await refused(worker) == (FaultCode.CONFLICT_ACTIVE, None)


async def test_a_draining_process_shares_but_begins_nothing() -> None:
    store = MemoryStore()
    async with working(store) as worker:
        stream = await told(worker)
        await worker.runtime.drain()
        meta = await ask(worker)
        assert isinstance(meta, StreamMeta)
        assert meta.ref == stream.ref
        with pytest.raises(FaultError) as caught:
            await ask(worker, key=replace(THE_KEY, name="another"))
        assert caught.value.fault.code is FaultCode.SHUTTING_DOWN
