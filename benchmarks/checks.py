"""What each contender does right: the checks that an outsider would make, on real servers and a real Redis."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import redis

from .cells import ALL
from .client import Client, Connection
from .contenders import contenders
from .contenders.contract import Contender, Store
from .environments import NotInstallableError, interpreter
from .pieces import PIECE
from .processes import RedisProcess, ServerProcess

__all__ = ["CHECKED", "CHECKS", "Outcome", "check_all"]

_EVENTS: Final = 60
_GAP: Final = 0.02
_CUT: Final = 15
"""Events that a client has when it is cut."""
_PATIENCE_SECONDS: Final = 8.0
_ID: Final = re.compile(r"^id: ?(.*?)\r?$", re.MULTILINE)
_KILLED_SECONDS: Final = 40.0
"""How long a reader waits for a worker that was killed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check of one contender showed."""

    passed: bool | None
    """None: the contender has nothing that could be checked."""
    text: str


_CANNOT: Final = Outcome(None, "no resume")


class _Situation:
    """One contender that serves, on two workers if it has a store that they can share."""

    def __init__(self, contender: Contender, workers: list[ServerProcess], redis: RedisProcess | None) -> None:
        self.contender = contender
        self.workers = workers
        self.redis = redis
        self.client = Client(contender.wire, workers[0].port)
        self._streams = 0

    async def ask(self, events: int = _EVENTS, gap: float = _GAP) -> tuple[int, Connection]:
        """A new answer, with ids if it can have them."""
        self._streams += 1
        connection = await self.client.connected()
        request = self.client.post(self._streams, events, gap).replace(b"&hold=0", b"&hold=0&ids=1", 1)
        connection.ask(request)
        return self._streams, connection

    async def resume(self, stream: int, made: Connection, *, cursor: bool = False, worker: int = 0) -> Connection:
        """The same answer again: what is missing after the cut, or all of it."""
        connection = await self.client.connected(self.workers[worker].port)
        ids = _ID.findall(_whole_part(made))
        after = ids[-1] if cursor and ids else ""
        request = self.client.get(made.transcript, stream, after)
        if cursor:
            characters = len(_whole_part(made))
            request = request.replace(b"\r\nConnection:", b"\r\nX-Characters: %d\r\nConnection:" % characters, 1)
        connection.ask(request)
        return connection


async def _until(connection: Connection, events: int) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while len(_numbers(connection)) < events and not connection.ended.done():
            await asyncio.sleep(0.01)


async def _to_end(connection: Connection, patience_seconds: float = _PATIENCE_SECONDS) -> str:
    """How the response ended: `whole`, `cut` or `hangs`."""
    try:
        async with asyncio.timeout(patience_seconds):
            await asyncio.shield(connection.ended)
    except TimeoutError:
        connection.abort()
        return "hangs"
    return "whole" if b"".join(connection.transcript.chunks).endswith(b"0\r\n\r\n") else "cut"


def _body(connection: Connection) -> str:
    """The body so far, without the framing of HTTP's chunks."""
    _, _, rest = b"".join(connection.transcript.chunks).partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, found, rest = rest.partition(b"\r\n")
        if not found:
            break
        length = int(size or b"0", 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return body.decode(errors="replace")


def _whole_part(connection: Connection) -> str:
    """The body up to the end of its last whole event, or whole line where it is no stream of server-sent events."""
    body = _body(connection)
    end = next(end for end in ("\r\n\r\n", "\n\n", "\n") if end in body)
    return body[: body.rfind(end) + len(end)]


def _numbers_in(body: str) -> list[int]:
    return [int(match[2]) for match in PIECE.finditer(body.encode())]


def _numbers(connection: Connection) -> list[int]:
    return _numbers_in(_body(connection))


def _judged(numbers: list[int], ending: str, events: int = _EVENTS) -> Outcome:
    if numbers == list(range(1, events + 1)) and ending == "whole":
        return Outcome(True, "yes")
    if not numbers:
        return Outcome(False, "nothing" if ending != "hangs" else "hangs")
    if len(numbers) != len(set(numbers)):
        return Outcome(False, f"{len(numbers) - len(set(numbers))} events twice")
    missing = events - len(numbers)
    return Outcome(False, f"{missing} of {events} missing" if missing else ending)


async def _once_in_order(here: _Situation) -> Outcome:
    _, connection = await here.ask(gap=0.0)
    ending = await _to_end(connection)
    return _judged(_numbers(connection), ending)


async def _cursor(here: _Situation) -> Outcome:
    stream, connection = await here.ask()
    await _until(connection, _CUT)
    connection.abort()
    await asyncio.sleep(0.2)
    back = await here.resume(stream, connection, cursor=True)
    ending = await _to_end(back)
    return _judged(_numbers_in(_whole_part(connection) + _body(back)), ending)


async def _reload(here: _Situation) -> Outcome:
    stream, connection = await here.ask()
    await _until(connection, _CUT)
    connection.abort()
    back = await here.resume(stream, connection)
    ending = await _to_end(back)
    return _judged(_numbers(back), ending)


async def _other_worker(here: _Situation) -> Outcome:
    if len(here.workers) < 2:
        return Outcome(None, "one worker")
    stream, connection = await here.ask()
    await _until(connection, _CUT)
    back = await here.resume(stream, connection, worker=1)
    ending = await _to_end(back)
    return _judged(_numbers(back), ending)


async def _survives(here: _Situation) -> Outcome:
    """The client leaves and comes back after the answer's end: all of it was made, and is still there."""
    stream, connection = await here.ask()
    await _until(connection, _CUT)
    connection.abort()
    await asyncio.sleep(_EVENTS * _GAP + 0.5)
    back = await here.resume(stream, connection)
    ending = await _to_end(back)
    return _judged(_numbers(back), ending)


async def _again(here: _Situation) -> Outcome:
    """The client read the answer to its end, and reloads its page."""
    stream, connection = await here.ask(gap=0.0)
    await _to_end(connection)
    back = await here.resume(stream, connection)
    ending = await _to_end(back)
    return _judged(_numbers(back), ending)


async def _keys_expire(here: _Situation) -> Outcome:
    """After an answer whose client left and never came back."""
    if here.redis is None:
        return Outcome(None, "no Redis")
    _, connection = await here.ask(gap=0.0)
    await connection.first
    connection.abort()
    await asyncio.sleep(1.0)
    with redis.Redis(host="127.0.0.1", port=here.redis.port, socket_timeout=5.0) as client:
        kept = sum(int(client.ttl(key)) == -1 for key in client.scan_iter())
    return Outcome(not kept, f"{kept} without a TTL" if kept else "yes")


async def _worker_killed(here: _Situation) -> Outcome:
    """The worker that makes the answer is killed. A client that asks another worker must learn that it is over."""
    if len(here.workers) < 2:
        return Outcome(None, "one worker")
    stream, connection = await here.ask()
    await _until(connection, _CUT)
    os.kill(here.workers[0].pid, signal.SIGKILL)
    began = time.monotonic()
    back = await here.resume(stream, connection, worker=1)
    ending = await _to_end(back, _KILLED_SECONDS)
    seconds = time.monotonic() - began
    if ending == "hangs":
        return Outcome(False, f"hangs for {seconds:.0f} s and more")
    told = ending == "cut" or "error" in _body(back)[-600:] or "interrupted" in _body(back)[-600:]
    return Outcome(told, f"an error, after {seconds:.0f} s" if told else "ends as if whole")


async def _redis_away(here: _Situation) -> Outcome:
    """Redis is killed in mid-answer. The client must get the rest, or an error; not a clean end without the rest."""
    if here.redis is None:
        return Outcome(None, "no Redis")
    _, connection = await here.ask()
    await _until(connection, _CUT)
    os.kill(here.redis.pid, signal.SIGKILL)
    ending = await _to_end(connection)
    numbers = _numbers(connection)
    if numbers == list(range(1, _EVENTS + 1)):
        return Outcome(True, "the answer goes on")
    if ending == "hangs":
        return Outcome(False, "hangs")
    told = "error" in _body(connection)[-400:]
    if ending == "cut" or told:
        return Outcome(True, "an error")
    return Outcome(False, "ends as if whole")


_NEEDS_RESUME: Final = frozenset(
    {"resume by cursor", "reload in mid-answer", "reload at the end", "other worker", "client away", "worker killed"}
)
_LAST: Final = ("worker killed", "Redis killed")
"""These leave nothing to check behind, so each has servers of its own."""
_CHECKS: Final[dict[str, Callable[[_Situation], Awaitable[Outcome]]]] = {
    "once, in order": _once_in_order,
    "resume by cursor": _cursor,
    "reload in mid-answer": _reload,
    "reload at the end": _again,
    "other worker": _other_worker,
    "client away": _survives,
    "keys expire": _keys_expire,
    "worker killed": _worker_killed,
    "Redis killed": _redis_away,
}
CHECKS: Final = tuple(_CHECKS)
"""The names of all checks, in the order of the table."""
CHECKED: Final = tuple(name for name in ALL if name not in ("bare-ui", "node-bare"))
"""The contenders that are checked, if no others are asked for."""


def check_all(names: list[str], say: Callable[[str], None]) -> dict[str, dict[str, Outcome]]:
    """Each contender's outcomes, by the names of the checks. One that cannot be installed has none."""
    found: dict[str, dict[str, Outcome]] = {}
    for name in names:
        contender = contenders()[name]
        try:
            interpreter(contender.environment)
        except NotInstallableError as exc:
            say(f"SKIPPED {name}: {exc}")
            found[name] = {}
            continue
        say(f"checks: {name}")
        found[name] = _check(contender)
    return found


def _check(contender: Contender) -> dict[str, Outcome]:
    groups = [[name for name in CHECKS if name not in _LAST], *([name] for name in _LAST)]
    return {name: outcome for group in groups for name, outcome in _check_some(contender, group).items()}


def _check_some(contender: Contender, names: list[str]) -> dict[str, Outcome]:
    if contender.store is not Store.REDIS:
        with ServerProcess(contender) as only:
            return asyncio.run(_run(_Situation(contender, [only], None), names))
    with (
        RedisProcess() as store,
        ServerProcess(contender, store) as first,
        ServerProcess(contender, store) as second,
    ):
        return asyncio.run(_run(_Situation(contender, [first, second], store), names))


async def _run(here: _Situation, names: list[str]) -> dict[str, Outcome]:
    outcomes = {}
    for name in names:
        if name in _NEEDS_RESUME and here.contender.wire.resume is None:
            outcomes[name] = _CANNOT
            continue
        try:
            outcomes[name] = await _CHECKS[name](here)
        except (OSError, TimeoutError, ValueError) as exc:
            outcomes[name] = Outcome(False, type(exc).__name__)
    return outcomes
