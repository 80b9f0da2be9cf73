"""Answers that fail, or end otherwise than their endpoint meant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from streamguard import FaultCode, FaultError, Run, Signal
from streamguard.stores import NewStream
from streamguard.stores.memory import MemoryStore
from streamguard.values import SessionKey, StreamRef, new_message_id, new_stream_id

from .application import SESSION, Application, Script, spoken
from .canaries import Canaries
from .scenario import Scenario, Stage

__all__ = ["SCENARIOS"]


class ProviderError(Exception):
    """As a provider's SDK raises it: with a request's texts in its own."""

    def __init__(self, text: str, status_code: int | None = None) -> None:
        super().__init__(text)
        self.status_code = status_code
        self.body = text


class Odd:
    """A value that no protocol carries, with a content."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class APITimeoutError(ProviderError): ...


class RemoteProtocolError(ProviderError): ...


class ProtocolError(RemoteProtocolError): ...


def with_more(error: Exception, canaries: Canaries) -> Exception:
    """The same, with a cause, a note, and a context that has texts of its own."""
    error.__cause__ = LookupError(canaries.cause)
    error.__cause__.__context__ = ExceptionGroup(canaries.grouped, [ValueError(canaries.grouped)])
    error.add_note(canaries.note)
    return error


def failing(make: Callable[[Canaries], BaseException], *, begun: bool = True) -> Script:
    """Say something, then raise."""

    async def script(app: Application, run: Run) -> AsyncIterator[object]:
        if begun:
            for part in spoken(app.canaries):
                yield part
        raise make(app.canaries)

    return script


def fails(make: Callable[[Canaries], Exception], *, begun: bool = True) -> Callable[[Stage], Any]:
    async def play(stage: Stage) -> None:
        app = stage.application(script=failing(lambda canaries: with_more(make(canaries), canaries), begun=begun))
        async with app.running() as chat:
            await stage.ask(app, chat, whole=True)

    return play


def yields(*items: Callable[[Canaries], object], **options: Any) -> Callable[[Stage], Any]:
    """An endpoint that yields these items and more, as long as it may."""

    async def play(stage: Stage) -> None:
        async def script(app: Application, run: Run) -> AsyncIterator[object]:
            for make in items:
                yield make(app.canaries)
            await app.go.wait()

        app = stage.application(script=script, **options)
        async with app.running() as chat:
            answer = await stage.ask(app, chat)
            if "stall_seconds" not in options and "first_item_seconds" not in options:
                app.go.set()
            await stage.rest(chat, answer)

    return play


async def stopped(stage: Stage) -> None:
    """By its user: the end of a `plain` stream says so."""

    async def script(app: Application, run: Run) -> AsyncIterator[object]:
        yield app.canaries.completion
        await app.go.wait()

    app = stage.application(script=script, protocol="plain")
    async with app.running() as chat:
        answer = await stage.ask(app, chat)
        await answer.read(1)
        assert (await chat.stop(SESSION)).status == 202
        await stage.rest(chat, answer)


async def nobody_watches(stage: Stage) -> None:
    app = stage.application(abandon_after_seconds=0.05)
    async with app.running() as chat:
        answer = await stage.ask(app, chat)
        await answer.read(2)
        answer.drop()
        await chat.ended(answer)


async def writer_lost(stage: Stage) -> None:
    """A worker died; another ends its answer, and tells who comes back."""
    store = MemoryStore()
    ref = StreamRef(SessionKey(stage.canaries.owner, SESSION), new_stream_id())
    new = NewStream(ref, new_message_id(), "ui-message", "chat", "", request_id="r1")
    await store.register(new, lease_seconds=0.001, ttl_seconds=60.0, limit=None)
    app = stage.application(store=store)
    async with app.running() as chat:
        await app.guard.reconcile(patience=False)
        await stage.told.of(Signal.ORPHAN_SETTLED)
        answer = stage.keep(await chat.resume(SESSION))
        await answer.whole()


async def taken_over(stage: Stage) -> None:
    """An answer without a request, of a worker that another one thinks dead."""
    store = MemoryStore()
    app = stage.application(store=store)
    owner = stage.canaries.owner
    async with app.running():
        try:
            async with app.guard.start(owner, SESSION) as run:
                await run.send(stage.canaries.completion)
                ref = StreamRef(SessionKey(owner, SESSION), run.stream_id)
                await store.take_over(ref, lease_seconds=60.0, force=True)
                await asyncio.Event().wait()
        except FaultError as error:
            stage.raised.append(error)


async def drained(stage: Stage) -> None:
    app = stage.application(drain_seconds=0.05)
    async with app.running() as chat:
        answer = await stage.ask(app, chat)
        await answer.read(2)
        await app.guard.drain()
        await stage.rest(chat, answer)


async def log_lost(stage: Stage) -> None:
    """The store goes away during an answer, which goes on from memory."""
    await _without_store(stage, "continue")


async def log_needed(stage: Stage) -> None:
    """The same, where the endpoint asked for an end."""
    await _without_store(stage, "fail")


async def _without_store(stage: Stage, policy: str) -> None:
    app = stage.application(on_store_failure=policy)
    async with app.running() as chat:
        answer = await stage.ask(app, chat)
        await answer.read(2)
        chat.store.fail()
        app.go.set()
        await answer.whole()
        await stage.told.of(Signal.BREAKER_OPENED)
        chat.store.heal()
        await chat.ended(answer)


async def hosts_notice(stage: Stage) -> None:
    """A host whose own accounting is behind says so."""

    async def script(app: Application, run: Run) -> AsyncIterator[object]:
        run.notice("quota_pending")
        for part in spoken(app.canaries):
            yield part

    app = stage.application(script=script)
    async with app.running() as chat:
        await stage.ask(app, chat, whole=True)


async def large_start(stage: Stage) -> None:
    """What every answer begins with is larger than any event may be."""
    app = stage.application(max_event_bytes=20)
    async with app.running() as chat:
        await stage.ask(app, chat, whole=True)


SCENARIOS: Final = (
    Scenario(FaultCode.PROVIDER_ERROR, "in_the_answer", fails(lambda c: ProviderError(c.provider, 500))),
    Scenario(FaultCode.PROVIDER_ERROR, "before_it", fails(lambda c: ProviderError(c.provider, 400), begun=False)),
    Scenario(
        FaultCode.PROVIDER_ERROR, "group", fails(lambda c: ExceptionGroup(c.grouped, [ProviderError(c.provider, 500)]))
    ),
    Scenario(FaultCode.PROVIDER_RATE_LIMITED, "status", fails(lambda c: ProviderError(c.provider, 429))),
    Scenario(FaultCode.PROVIDER_TIMEOUT, "its_own", fails(lambda c: APITimeoutError(c.provider))),
    Scenario(FaultCode.PROVIDER_TIMEOUT, "nothing_came", yields(first_item_seconds=0.05)),
    Scenario(FaultCode.PROVIDER_ABORTED, "connection", fails(lambda c: ProtocolError(c.provider))),
    Scenario(
        FaultCode.STALLED,
        "silence",
        yields(lambda c: {"type": "data-x", "data": c.completion}, stall_seconds=0.05),
    ),
    Scenario(
        FaultCode.TOO_LONG,
        "events",
        yields(*[lambda c: {"type": "data-x", "data": c.completion}] * 20, max_stream_events=10),
    ),
    Scenario(FaultCode.EVENT_TOO_LARGE, "start", large_start),
    Scenario(
        FaultCode.VALUE_REPLACED,
        "not_json",
        yields(lambda c: {"type": "data-x", "data": {c.left_out: Odd(c.left_out)}}),
    ),
    Scenario(FaultCode.STOPPED, "by_its_user", stopped, untold="its user asked for it: it is no failure"),
    Scenario(FaultCode.INTERRUPTED, "writer_lost", writer_lost),
    Scenario(FaultCode.INTERRUPTED, "nobody_watches", nobody_watches),
    Scenario(FaultCode.SUPERSEDED, "taken_over", taken_over),
    Scenario(FaultCode.SHUTTING_DOWN, "drained", drained),
    Scenario(FaultCode.NOT_RESUMABLE, "log_lost", log_lost),
    Scenario(FaultCode.STORE_UNAVAILABLE, "log_needed", log_needed),
    Scenario(FaultCode.QUOTA_PENDING, "hosts_notice", hosts_notice),
    Scenario(FaultCode.INTERNAL, "bug_in_the_answer", fails(lambda c: RuntimeError(c.bug))),
    Scenario(FaultCode.INTERNAL, "bug_before_it", fails(lambda c: KeyError(c.bug), begun=False)),
)
