"""Plays a soak's chats against its workers, and records the answer to every request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from .clients import Clock, Request, carry_out
from .history import Action, Attempt, End, Question
from .plan import Chat, Reading, Turn
from .wire import is_terminal

__all__ = ["Players"]

PREFIX: Final = "/chats"
PAUSE_SECONDS: Final = 0.3
"""Wait before a viewer that was cut, or refused for the moment, connects again."""
PATIENCE_SECONDS: Final = 45.0
"""How long a viewer keeps reconnecting for one answer."""
FINAL: Final = (200, 204, 400, 404, 409, 410, 422)
"""Statuses after which another request is of no use. Other failures may pass."""
BROKEN: Final = ("provider_error", "internal")
"""The fault codes of an answer whose model crashes before its first word. A repeated request gets them again."""


class Players:
    """All simulated clients.

    Args:
        ports: the workers' ports, whether the workers are alive or dead.
        clock: returns the seconds since the soak began.
    """

    def __init__(self, ports: Sequence[int], clock: Clock) -> None:
        self._ports = list(ports)
        self._clock = clock
        self.attempts: list[Attempt] = []
        self.questions: list[Question] = []
        self.playing: set[str] = set()
        """The running chats."""
        self.chats = 0

    async def play(self, chat: Chat) -> None:
        """Play all turns of a chat to their ends."""
        name = f"chat {chat.number}"
        self.playing.add(name)
        for number, turn in enumerate(chat.turns):
            await self._turn(chat, number, turn)
        self.playing.discard(name)
        self.chats += 1

    async def _turn(self, chat: Chat, number: int, turn: Turn) -> None:
        name = f"{chat.number}/{number}"
        question = replace(turn.question, asked_at=self._clock())
        self.questions.append(question)
        ask = self._ask(f"{name}/asker", turn, question, chat.number + number)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(ask, turn.asker, question))
            for index, reading in enumerate(turn.watchers):
                watch = self._resume(f"{name}/watcher{index}", question, chat.number + index + 1)
                group.create_task(self._after(reading.delay, partial(self._read, watch, reading, question)))
            self._meddle(group, name, turn, question, ask)

    def _meddle(self, group: asyncio.TaskGroup, name: str, turn: Turn, question: Question, ask: Request) -> None:
        """Start what other clients do during a turn."""
        plain_reading = replace(turn.asker, drops=(), forgets=(), delay=0.0)
        elsewhere = self._other(ask.port)
        if turn.stop_after is not None:
            path = f"{PREFIX}/{question.session}/stop"
            stop = replace(ask, viewer=f"{name}/stopper", action=Action.STOP, path=path, body=b"", request_key=None)
            group.create_task(self._after(turn.stop_after, lambda: self._once(stop)))
        if turn.rival_after is not None:
            rival = replace(ask, viewer=f"{name}/rival", port=elsewhere, request_key=None)
            asked = question
            if question.path != "join":
                asked = replace(question, nonce=f"{question.nonce}r", asked_at=self._clock())
                self.questions.append(asked)
                rival = replace(rival, body=_body(asked, turn.gap_ms), nonce=asked.nonce)
            group.create_task(self._after(turn.rival_after, lambda: self._read(rival, plain_reading, asked)))
        if turn.repeat_after is not None:
            repeat = replace(ask, viewer=f"{name}/repeat", port=elsewhere)
            group.create_task(self._after(turn.repeat_after, lambda: self._read(repeat, plain_reading, question)))
        if turn.pry_after is not None:
            pry = self._resume(f"{name}/pry", question, 0)
            pry = replace(pry, action=Action.PRY, owner=f"not-{question.owner}")
            group.create_task(self._after(turn.pry_after, lambda: self._once(pry)))

    def _ask(self, viewer: str, turn: Turn, question: Question, spread: int) -> Request:
        return Request(
            viewer=viewer,
            action=Action.ASK,
            owner=question.owner,
            session=question.session,
            path=f"{PREFIX}/{question.path}",
            port=self._ports[spread % len(self._ports)],
            body=_body(question, turn.gap_ms),
            request_key=turn.request_key,
            nonce=question.nonce,
        )

    def _resume(self, viewer: str, question: Question, spread: int) -> Request:
        return Request(
            viewer=viewer,
            action=Action.RESUME,
            owner=question.owner,
            session=question.session,
            path=f"{PREFIX}/{question.session}/stream",
            port=self._ports[spread % len(self._ports)],
        )

    async def _after(self, delay: float, run: Callable[[], Coroutine[None, None, None]]) -> None:
        await asyncio.sleep(delay)
        await run()

    async def _once(self, request: Request) -> None:
        self.attempts.append(await carry_out(request, self._clock))

    async def _read(self, request: Request, reading: Reading, question: Question) -> None:
        """Read a stream to its end, or until a server says that there is no more, on as many connections as needed."""
        give_up_at = self._clock() + PATIENCE_SECONDS
        views, connection = 0, 0
        while self._clock() < give_up_at:
            request = replace(request, drop_after=reading.drop(connection), in_stream=self._in_stream(request, reading))
            attempt = await carry_out(request, self._clock)
            self.attempts.append(attempt)
            if attempt.status not in FINAL:
                if attempt.code in BROKEN or attempt.code == "quota_exceeded":
                    return
                await asyncio.sleep(PAUSE_SECONDS)
                if attempt.action is Action.ASK and request.request_key is None:
                    request = self._again(
                        request, question
                    )  # the first request may have arrived: repeating it would ask twice
                request = replace(request, port=self._other(request.port))
                continue
            connection += 1
            if attempt.status != 200:
                if attempt.status not in (409, 410) or attempt.action is Action.ASK or views > 2:
                    return
                cursor = None  # refused: read from the beginning
            elif attempt.end is End.CLEAN or any(is_terminal(one, question.protocol) for one in attempt.seen):
                return
            else:
                ids = [one.id for one in attempt.seen if one.id is not None]
                cursor = ids[-1] if ids else request.cursor
                if reading.forgetful(connection):
                    cursor = None
                if attempt.end is End.CUT:
                    await asyncio.sleep(PAUSE_SECONDS)
            views += cursor is None
            request = self._again(request, question)
            name = request.viewer.partition("+")[0] + (f"+{views}" if views else "")
            request = replace(
                request,
                viewer=name,
                cursor=cursor,
                in_query=reading.in_query,
                port=self._other(request.port) if connection % 2 else request.port,
            )

    def _again(self, request: Request, question: Question) -> Request:
        """The request of a viewer that connects again."""
        if request.action is Action.RESUME:
            return request
        return replace(self._resume(request.viewer, question, 0), port=request.port)

    @staticmethod
    def _in_stream(request: Request, reading: Reading) -> bool:
        return reading.in_stream and request.action is Action.RESUME

    def _other(self, port: int) -> int:
        return self._ports[(self._ports.index(port) + 1) % len(self._ports)]


def _body(question: Question, gap_ms: float) -> bytes:
    return json.dumps(
        {
            "id": question.session,
            "nonce": question.nonce,
            "count": question.count,
            "size": question.size,
            "gap_ms": gap_ms,
            "crash_at": question.crash_at,
        }
    ).encode()
