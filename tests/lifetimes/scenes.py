"""Uses every kind of object under one circumstance, in a process of its own.

A process of its own, because some of these leave open what nobody can close any more, which Python warns of much later.
Prints what failed, by name: `python -m tests.lifetimes.scenes SCENE PLACES…`.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final

from starlette.testclient import TestClient

from streamguard import ConfigurationError

from .kinds import KINDS, Kind, Places, saving_app, used_app

__all__ = ["SCENES"]

SECONDS: Final = 20
LOOPS: Final = 3
"""How many loops use one thing at once."""
RACING_SECONDS: Final = 0.4
"""How long the loops do so, with new things of one kind: once in any case."""


def run(use: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(use, SECONDS))


def second_loop(kind: Kind, used: object) -> None:
    for _ in range(3):
        run(kind.use(used))


def after_a_closed_loop(kind: Kind, used: object) -> None:
    """A loop that is closed with everything open, and its tasks pending."""
    for _ in range(2):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(asyncio.wait_for(kind.use(used), SECONDS))
        loop.close()
    run(kind.use(used))


def second_task(kind: Kind, used: object) -> None:
    async def tasks() -> None:
        if kind.alone:
            await asyncio.create_task(kind.use(used))
            await asyncio.create_task(kind.use(used))
        else:
            await asyncio.gather(*(asyncio.create_task(kind.use(used)) for _ in range(4)))

    run(tasks())


def two_loops_at_once(kind: Kind, used: object) -> None:
    """Each in a thread of its own, and some more of them than two, which do everything at the same moment: the first
    use, a later one and the closing. What lives in one loop only says so in the others."""
    meeting = threading.Barrier(LOOPS, timeout=SECONDS)
    errors: list[BaseException] = []

    async def uses() -> None:
        meeting.wait()  # this loop has nothing else to do
        await kind.use(used)
        meeting.wait()  # all loops have used it, and none has ended
        await kind.use(used)
        meeting.wait()
        closed = getattr(used, "aclose", None)
        if closed is not None:
            await closed()

    def thread() -> None:
        try:
            run(uses())
        except BaseException as exc:  # noqa: BLE001 -- raised below
            errors.append(exc)
            meeting.abort()

    threads = [threading.Thread(target=thread) for _ in range(LOOPS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    expected = (ConfigurationError, threading.BrokenBarrierError) if kind.one_loop else threading.BrokenBarrierError
    for error in errors:
        if not isinstance(error, expected):
            raise error
    if errors and not any(isinstance(error, ConfigurationError) for error in errors):
        raise errors[0]


def test_client_twice(kind: Kind, used: object) -> None:
    for _ in range(2):
        with serving(kind, used) as client:
            asked(client, kind)


def second_guard(kind: Kind, used: object) -> None:
    """Both run, the first stops, the second goes on. What serves one loop has the two guards in one."""
    if kind.one_loop:
        return
    with serving(kind, used) as second:
        with serving(kind, used) as first:
            asked(first, kind)
            asked(second, kind)
        asked(second, kind)


def serving(kind: Kind, used: Any) -> TestClient:
    """An application that uses it, in a loop of its own."""
    if kind.option is None:
        app = used[1] if isinstance(used, tuple) else used_app(kind, used)
        return TestClient(app)
    run(kind.use(used))  # creates tables, in yet another loop
    return TestClient(saving_app(kind.option, used))


def asked(client: TestClient, kind: Kind) -> None:
    session = secrets.token_hex(8)
    answer = client.post(f"/api/chat?id={session}", headers={"X-User": "ann"})
    assert answer.status_code == 200, answer.text
    assert "two" in answer.text
    if kind.option == "messages":
        assert "data-streamguard-persisted" in answer.text


def forked_worker(kind: Kind, used: object) -> None:
    """Used, with connections open, when the process forks; then in the child, then in the parent again."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.wait_for(kind.use(used), SECONDS))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            run(kind.use(used))
        except BaseException:  # noqa: BLE001 -- the parent raises it
            os.write(writer, traceback.format_exc().encode()[-8_000:])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        text = told.read().decode()
    os.waitpid(child, 0)
    if text:
        raise AssertionError(f"in the child: {text}")
    loop.run_until_complete(asyncio.wait_for(kind.use(used), SECONDS))
    loop.close()


SCENES: Final[dict[str, Callable[[Kind, Any], None]]] = {
    scene.__name__: scene
    for scene in (
        second_loop,
        after_a_closed_loop,
        second_task,
        two_loops_at_once,
        test_client_twice,
        second_guard,
        forked_worker,
    )
}


def play(scene: str, kind: Kind, places: Places) -> None:
    """Play a scene once; where threads race, again and again, and with as many changes between them as there can be."""
    if scene != two_loops_at_once.__name__:
        SCENES[scene](kind, kind.make(places))
        return
    sys.setswitchinterval(1e-6)
    until = time.monotonic() + RACING_SECONDS
    two_loops_at_once(kind, kind.make(places))
    while time.monotonic() < until:
        two_loops_at_once(kind, kind.make(places))


def main(scene: str, places: Places) -> None:
    failed = {}
    for name, kind in KINDS.items():
        try:
            play(scene, kind, places)
        except BaseException:  # noqa: BLE001 -- the test that asks for this one fails
            failed[name] = traceback.format_exc()
    print(json.dumps(failed), flush=True)
    os._exit(0)  # not every driver lets a process end that has forked


if __name__ == "__main__":
    main(sys.argv[1], Places(*sys.argv[2:]))
