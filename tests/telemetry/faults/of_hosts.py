"""What else a host's own code can do that has texts in it: exceptions that quote what they were given, functions of the
host's that fail, answers that end badly, workers that are lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NoReturn

import pydantic
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request

from streamguard import ConfigurationError, Fault, FaultCode, FaultError, Run, Signal
from streamguard.errors import InvalidPartError
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota
from streamguard.stores.memory import MemoryStore

from .application import SESSION, Application, Script, spoken
from .canaries import Canaries
from .of_answers import failing
from .of_ends import database_error
from .scenario import Scenario, Stage

__all__ = ["SCENARIOS"]

Play = Callable[[Stage], Any]


class Question(pydantic.BaseModel):
    """As a host reads a request's body."""

    number: int


class Said(pydantic.BaseModel):
    """As a host, or a provider's client, makes it without a check."""

    type: str = "data-x"
    data: int


def _caught(work: Callable[[], object]) -> BaseException:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 -- whatever it is
        return error
    raise AssertionError("it was to fail")


def wrong_model(canaries: Canaries) -> BaseException:
    """Shows the input."""
    return _caught(lambda: Question.model_validate({"number": canaries.prompt}))


def wrong_json(canaries: Canaries) -> BaseException:
    """Keeps the document."""
    return _caught(lambda: json.loads(f'{{"text": "{canaries.completion}"'))


def wrong_bytes(canaries: Canaries) -> BaseException:
    """Keeps the bytes."""
    return _caught((canaries.completion.encode() + b"\xff").decode)


def no_attribute(canaries: Canaries) -> BaseException:
    return _caught(lambda: getattr(object(), canaries.completion))


def ours(make: Callable[[str], BaseException]) -> Callable[[Canaries], BaseException]:
    """One of our own classes, with the host's words in it."""
    return lambda canaries: make(canaries.provider)


def raises(make: Callable[[Canaries], BaseException], *, begun: bool = True) -> Play:
    async def play(stage: Stage) -> None:
        app = stage.application(script=failing(make, begun=begun))
        async with app.running() as chat:
            await stage.ask(app, chat, whole=True)

    return play


async def hosts_message(stage: Stage) -> None:
    """A fault with a message that the host wrote goes to the client as it is, and nowhere else."""
    app = stage.application(script=failing(lambda c: FaultError(Fault.of(FaultCode.INTERNAL, message=c.provider))))
    async with app.running() as chat:
        answer = await app.ask(chat)
        await stage.rest(chat, answer)


def says(script: Script, **options: Any) -> Play:
    async def play(stage: Stage) -> None:
        app = stage.application(script=script, **options)
        async with app.running() as chat:
            await stage.ask(app, chat, whole=True)

    return play


async def unchecked(app: Application, run: Run) -> AsyncIterator[object]:
    """Pydantic warns of a field that has another type, and shows it."""
    yield Said.model_construct(data=app.canaries.completion)


async def odd_parts(app: Application, run: Run) -> AsyncIterator[object]:
    """Parts that are wrong, with texts where others have names. What a part is called is no text."""
    yield {"type": "no-such-part", "text": app.canaries.completion}
    yield {"type": "data-x", "data": {app.canaries.completion: object()}}
    yield {"type": "tool-input-available", "toolCallId": "call_1", "toolName": "search", app.canaries.completion: 1}
    yield {"type": "text-delta", "id": app.canaries.completion}


async def reported(app: Application, run: Run) -> AsyncIterator[object]:
    """A library tells in the stream itself that it failed, in its provider's words."""
    yield {"type": "error", "errorText": app.canaries.provider}


async def named_event(app: Application, run: Run) -> AsyncIterator[object]:
    yield f"event: {app.canaries.completion}\ndata: {app.canaries.completion}\n\n"


async def fails_when_closed(app: Application, run: Run) -> AsyncIterator[object]:
    """A generator whose clean-up fails, too."""
    try:
        for part in spoken(app.canaries):
            yield part
        await asyncio.Event().wait()
    finally:
        raise database_error(app.canaries)


async def stopped_in_vain(stage: Stage) -> None:
    app = stage.application(script=fails_when_closed)
    async with app.running() as chat:
        answer = await stage.ask(app, chat)
        await answer.read(2)
        await chat.stop(SESSION)
        await stage.rest(chat, answer)


async def deaf(app: Application, run: Run) -> AsyncIterator[object]:
    """Does not hear that it is cancelled, and fails when nobody waits for it any more."""
    for part in spoken(app.canaries):
        yield part
    while not app.go.is_set():
        try:
            await app.go.wait()
        except asyncio.CancelledError:
            continue
    raise database_error(app.canaries)


async def abandoned(stage: Stage) -> None:
    app = stage.application(script=deaf)
    async with app.running() as chat:
        answer = await stage.ask(app, chat)
        await answer.read(2)
        await chat.stop(SESSION)
        await chat.seen(Signal.ENDPOINT_ABANDONED)
        app.go.set()
        await stage.rest(chat, answer)


def asks(**options: Callable[[Stage], Any]) -> Play:
    """A request to an application with functions of the host's that fail."""

    async def play(stage: Stage) -> None:
        app = stage.application(**{name: make(stage) for name, make in options.items()})
        async with app.running() as chat:
            await stage.ask(app, chat)

    return play


def failing_with_request(stage: Stage) -> Callable[[HTTPConnection], Any]:
    async def authenticate(connection: HTTPConnection) -> NoReturn:
        raise RuntimeError(f"cannot read {connection.headers['authorization']} and {connection.headers['cookie']}")

    return authenticate


def giving_nonsense(stage: Stage) -> Callable[[HTTPConnection], Any]:
    async def authenticate(connection: HTTPConnection) -> object:
        return {"token": connection.headers["authorization"]}

    return authenticate


def failing_selector(stage: Stage) -> Callable[[Request], Any]:
    async def session(request: Request) -> NoReturn:
        raise LookupError(await request.body(), request.headers["cookie"])

    return session


def failing_estimate(stage: Stage) -> Callable[[Request], Any]:
    async def estimate(request: Request) -> NoReturn:
        raise ValueError(await request.body())

    return estimate


def wrong_estimate(stage: Stage) -> Callable[[Request], Any]:
    async def estimate(request: Request) -> object:
        return {stage.canaries.prompt: stage.canaries.prompt}

    return estimate


async def worker_lost(stage: Stage) -> None:
    """A worker dies in the middle of an answer, with a message store that then fails: another worker takes the answer
    over, cannot save it, and gives up."""
    store = MemoryStore()

    async def save(_: object) -> None:
        raise database_error(stage.canaries)

    first = stage.application(store=store, messages=save)
    async with first.running() as lost:
        answer = await stage.ask(first, lost)
        await answer.read(4)
        assert answer.stream_id is not None
        second = stage.application(store=store, messages=save, max_outbox_attempts=1)
        async with second.running() as chat:
            (ref,) = [one.ref for one in stage.told.observations if one.name is Signal.STREAM_OPENED]
            assert ref is not None
            await store.take_over(ref, lease_seconds=0.001, force=True)
            await second.guard.reconcile(patience=False)
            await stage.told.of(Signal.ORPHAN_SETTLED)
            await second.guard.reconcile(patience=False)
            await stage.told.of(Signal.SAVE_BURIED)
            stage.keep(await chat.resume(SESSION))
        await answer.whole()


async def observer_fails(stage: Stage) -> None:
    """A sink of the host's fails with what it was told of."""

    class Failing:
        def __call__(self, observation: object) -> None:
            raise database_error(stage.canaries)

    observers = (stage.told, *stage.observers, Failing())
    app = Application(stage.canaries, observers, script=failing(lambda c: ValueError(c.bug)))
    async with app.running() as chat:
        await stage.ask(app, chat, whole=True)


async def well(stage: Stage) -> None:
    """An answer that is saved, watched, resumed, and forgotten."""
    app = stage.application(messages=MemoryMessageStore())
    async with app.running() as chat:
        answer = await stage.ask(app, chat)
        await answer.read(3)
        stage.keep(await chat.resume(SESSION, after=answer.cursor))
        app.go.set()
        await stage.rest(chat, answer)
        await app.guard.reconcile(patience=False)
        await chat.delete(SESSION)


_HOSTS: Final[dict[str, Play]] = {
    "wrong_model": raises(wrong_model),
    "wrong_model_before": raises(wrong_model, begun=False),
    "wrong_json": raises(wrong_json),
    "wrong_bytes": raises(wrong_bytes),
    "no_attribute": raises(no_attribute),
    "cancelled": raises(lambda c: asyncio.CancelledError(c.provider)),
    "stop_iteration": raises(lambda c: StopAsyncIteration(c.provider)),
    "our_configuration_error": raises(ours(ConfigurationError)),
    "our_invalid_part": raises(ours(lambda text: InvalidPartError(text, protocol=text))),
    "hosts_message": hosts_message,
    "http_exception": raises(ours(lambda text: HTTPException(503, detail=text)), begun=False),
    "unchecked": says(unchecked),
    "odd_parts": says(odd_parts),
    "reported": says(reported),
    "named_event": says(named_event),
    "named_event_in_text": says(named_event, protocol="plain"),
    "named_event_as_it_is": says(named_event, protocol="opaque"),
    "stopped_in_vain": stopped_in_vain,
    "abandoned": abandoned,
    "authenticate_fails": asks(authenticate=failing_with_request),
    "authenticate_gives_nonsense": asks(authenticate=giving_nonsense),
    "selector_fails": asks(session=failing_selector),
    "estimate_fails": asks(estimate=failing_estimate, quota=lambda _: Quota(10, "day", "tokens")),
    "estimate_wrong": asks(estimate=wrong_estimate, quota=lambda _: Quota(10, "day", "tokens")),
    "observer_fails": observer_fails,
}


def _named(name: str, play: Play) -> Scenario:
    return Scenario(FaultCode.INTERNAL, name, play, untold="of some of these nobody hears")


WELL: Final = _named("well", well)
WORKER_LOST: Final = _named("worker_lost", worker_lost)
SCENARIOS: Final = (WELL, WORKER_LOST, *(_named(name, play) for name, play in _HOSTS.items()))
"""Paths on which texts could leak, whatever fault, if any, they lead to."""
HANDED_ON: Final = frozenset({"http_exception", "authenticate_fails", "authenticate_gives_nonsense", "selector_fails"})
"""Where the host's own exception goes to its framework, which answers it, as without us: the framework's integration
for Sentry captures it as the host's options say."""
