"""One call of the application inside: who waits for whom, and what each end does to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message, Receive, Scope, Send

from streamguard.web.rules.inner_call import BUFFERED_BYTES, InnerCall

pytestmark = pytest.mark.anyio

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def nothing_to_receive() -> Message:
    return {"type": "http.disconnect"}


class Calling:
    """An application that does `act` with its `send`, and tells how that ended."""

    def __init__(self, act: Callable[[Send], Awaitable[None]]) -> None:
        self._act = act
        self.ended: BaseException | str | None = None
        self.call = InnerCall(self._app, {"type": "http"}, nothing_to_receive, asyncio.get_running_loop())

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._act(send)
            self.ended = "returned"
        except BaseException as exc:
            self.ended = exc
            raise


async def endless(send: Send) -> None:
    await send(START)
    await send(piece(b"1"))
    await asyncio.Event().wait()


async def test_a_captured_response_is_iterated_to_its_end() -> None:
    async def act(send: Send) -> None:
        await send(START)
        await send(piece(b"1"))
        await send(piece(b""))
        await asyncio.sleep(0)
        await send(piece(b"2", more=False))

    calling = Calling(act)
    assert await calling.call.head() == START
    calling.call.capture()
    assert b"".join([part async for part in calling.call]) == b"12"
    await calling.call.aclose()
    assert calling.ended == "returned"


@pytest.mark.parametrize("turns", [0, 3])
@pytest.mark.parametrize("taken", [True, False], ids=["what is here is taken first", "iterated"])
async def test_what_is_here_at_once_is_what_would_be_iterated(turns: int, taken: bool) -> None:
    sent = [b"1", b"2", b"", b"3"]

    async def act(send: Send) -> None:
        await send(START)
        for body in sent:
            for _ in range(turns):
                await asyncio.sleep(0)
            await send(piece(body))
        await send(piece(b"end", more=False))

    calling = Calling(act)
    await calling.call.head()
    calling.call.capture()
    got: list[bytes] = []
    while taken and (body := calling.call.at_once()) is not None:
        got.append(body)
    assert got == ([b"1", b"2"] if taken and not turns else [])
    got += [part async for part in calling.call]
    assert (got, calling.call.at_once()) == ([b"1", b"2", b"3", b"end"], None)


@pytest.mark.parametrize("last", [piece(b"x", more=False), {"type": "http.response.pathsend", "path": __file__}])
async def test_the_last_piece_is_iterated_also_if_it_is_here(last: Message) -> None:
    async def act(send: Send) -> None:
        await send(START)
        await send(last)

    calling = Calling(act)
    await calling.call.head()
    calling.call.capture()
    assert calling.call.at_once() is None
    assert len([part async for part in calling.call]) == 1


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_call_whose_body_is_all_here_may_end_first(turns: int) -> None:
    async def act(send: Send) -> None:
        await send(START)
        await send(piece(b"1"))
        await send(piece(b"", more=False))
        for _ in range(turns):
            await asyncio.sleep(0)

    calling = Calling(act)
    await calling.call.head()
    await calling.call.end_if_whole()
    assert calling.ended == "returned"
    calling.call.capture()
    assert [part async for part in calling.call] == [b"1"]


@pytest.mark.parametrize("whole", [True, False], ids=["the rest of a call", "the rest of a body"])
async def test_the_first_piece_waits_for_no_rest_that_takes_its_time(whole: bool) -> None:
    async def act(send: Send) -> None:
        await send(START)
        await send(piece(b"1"))
        if whole:
            await send(piece(b"", more=False))
        await asyncio.Event().wait()

    calling = Calling(act)
    await calling.call.head()
    await calling.call.end_if_whole()
    calling.call.capture()
    assert await anext(calling.call) == b"1"
    await calling.call.aclose()
    assert isinstance(calling.ended, asyncio.CancelledError)


async def test_an_application_goes_on_when_what_was_here_is_taken() -> None:
    async def act(send: Send) -> None:
        await send(START)
        for _ in range(4):
            await send(piece(b"x" * BUFFERED_BYTES))
        await send(piece(b"", more=False))

    calling = Calling(act)
    await calling.call.head()
    calling.call.capture()
    total = len(calling.call.at_once() or b"")
    assert calling.call.at_once() is None
    assert total + sum([len(part) async for part in calling.call]) == 4 * BUFFERED_BYTES


async def test_what_the_application_raises_is_raised_to_the_iterator_after_what_it_said() -> None:
    async def act(send: Send) -> None:
        await send(START)
        await send(piece(b"1"))
        raise ValueError("broken")

    calling = Calling(act)
    await calling.call.head()
    calling.call.capture()
    assert await anext(calling.call) == b"1"
    with pytest.raises(ValueError, match="broken"):
        await anext(calling.call)
    await calling.call.aclose()


async def test_an_application_that_is_too_far_ahead_waits() -> None:
    sent: list[int] = []

    async def act(send: Send) -> None:
        await send(START)
        for number in range(10):
            await send(piece(b"x" * (BUFFERED_BYTES // 2)))
            sent.append(number)
        await send(piece(b"", more=False))

    calling = Calling(act)
    await calling.call.head()
    calling.call.capture()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(sent) == 2
    total = sum([len(part) async for part in calling.call])
    assert (total, len(sent)) == (10 * (BUFFERED_BYTES // 2), 10)


async def test_pieces_are_taken_where_they_are_sent_while_somebody_waits_for_them() -> None:
    taken: list[object] = []
    tasks: set[object] = set()
    calling_task = asyncio.current_task()

    async def act(send: Send) -> None:
        await send(START)
        for number in range(9):
            await asyncio.sleep(0)
            await send(piece(b"%d" % number))
        await send(piece(b"end", more=False))

    def take(part: object) -> bool:
        taken.append(part)
        tasks.add(asyncio.current_task())
        return len(taken) % 3 != 0

    calling = Calling(act)
    await calling.call.head()
    calling.call.capture()
    iterated: list[bytes] = []
    async for part in calling.call:
        taken.append(part)
        iterated.append(part)
        calling.call.divert(take)
    assert taken == [*(b"%d" % number for number in range(9)), b"end"], "all, in their order"
    assert set(iterated) < set(taken)
    assert calling_task not in tasks
    await calling.call.aclose()


async def test_what_taking_a_piece_raises_is_raised_to_the_iterator_and_not_to_the_application() -> None:
    async def act(send: Send) -> None:
        await send(START)
        for number in range(5):
            await asyncio.sleep(0)
            await send(piece(b"%d" % number))
        await send(piece(b"", more=False))

    def take(part: object) -> bool:
        raise ValueError(f"cannot take {part!r}")

    calling = Calling(act)
    await calling.call.head()
    calling.call.capture()
    assert await anext(calling.call) == b"0"
    calling.call.divert(take)
    with pytest.raises(ValueError, match="cannot take b'1'"):
        await anext(calling.call)
    for _ in range(20):
        await asyncio.sleep(0)
    assert calling.ended == "returned"
    await calling.call.aclose()


async def test_closing_a_captured_call_cancels_it() -> None:
    calling = Calling(endless)
    await calling.call.head()
    calling.call.capture()
    await anext(calling.call)
    await calling.call.aclose()
    assert isinstance(calling.ended, asyncio.CancelledError)


async def test_what_an_application_sends_while_it_is_closed_is_dropped() -> None:
    async def act(send: Send) -> None:
        await send(START)
        try:
            await asyncio.Event().wait()
        finally:
            await send(piece(b"late"))

    calling = Calling(act)
    await calling.call.head()
    calling.call.capture()
    await calling.call.aclose()
    assert isinstance(calling.ended, asyncio.CancelledError)


async def test_the_rest_of_a_whole_response_goes_on() -> None:
    gate = asyncio.Event()

    async def act(send: Send) -> None:
        await send(START)
        await send(piece(b"1", more=False))
        await gate.wait()

    calling = Calling(act)
    await calling.call.head()
    rests: list[asyncio.Task[None]] = []
    calling.call.capture(on_rest=rests.append)
    assert [part async for part in calling.call] == [b"1"]
    (task,) = rests
    await calling.call.aclose()
    assert not task.done()
    gate.set()
    await task
    assert calling.ended == "returned"


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_send_that_fails_is_the_applications_to_handle(at: int) -> None:
    """The client left (ASGI 2.4), while what waited was passed on, or later."""
    seen: list[Message] = []

    async def act(send: Send) -> None:
        await send(START)
        await send(piece(b"1"))
        await asyncio.sleep(0)
        for _ in range(3):
            await send(piece(b"2"))

    async def send(message: Message) -> None:
        seen.append(message)
        if len(seen) == at:
            raise OSError("gone")

    calling = Calling(act)
    await calling.call.head()
    calling.call.pass_on()
    with pytest.raises(OSError, match="gone"):
        await calling.call.answer(send)
    assert isinstance(calling.ended, OSError)
    assert len(seen) == at


@pytest.mark.parametrize("blocked", [True, False], ids=["in a send", "in the application"])
async def test_cancelling_the_answer_cancels_the_call(blocked: bool) -> None:
    async def send(message: Message) -> None:
        if blocked:
            await asyncio.Event().wait()

    calling = Calling(endless)
    await calling.call.head()
    calling.call.pass_on()
    answering = asyncio.ensure_future(calling.call.answer(send))
    for _ in range(5):
        await asyncio.sleep(0)
    answering.cancel()
    await asyncio.wait({answering})
    assert answering.cancelled()
    assert isinstance(calling.ended, asyncio.CancelledError)


async def test_a_call_that_is_never_answered_is_cancelled() -> None:
    calling = Calling(endless)
    await calling.call.head()
    calling.call.pass_on()
    await calling.call.aclose()
    assert calling.ended is None
    await calling.call.abandon()
    assert isinstance(calling.ended, asyncio.CancelledError)
