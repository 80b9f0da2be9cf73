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
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final

from starlette.testclient import TestClient

from streamguard import ConfigurationError

from .kinds import KINDS, Kind, Places, saving_app, used_app

__all__ = ["SCENES"]

SECONDS: Final = 20


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
    """Each in a thread of its own. What lives in one loop only says so in the other."""
    meeting = threading.Barrier(2, timeout=SECONDS)
    errors: list[BaseException] = []

    async def both() -> None:
        await kind.use(used)
        await asyncio.to_thread(meeting.wait)  # both loops have used it, and neither has ended
        await kind.use(used)

    def thread() -> None:
        try:
            run(both())
        except BaseException as exc:  # noqa: BLE001 -- raised below
            errors.append(exc)
            meeting.abort()

    threads = [threading.Thread(target=thread) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for error in errors:
        if not (kind.one_loop and isinstance(error, (ConfigurationError, threading.BrokenBarrierError))):
            raise error


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


def main(scene: str, places: Places) -> None:
    failed = {}
    for name, kind in KINDS.items():
        try:
            SCENES[scene](kind, kind.make(places))
        except BaseException:  # noqa: BLE001 -- the test that asks for this one fails
            failed[name] = traceback.format_exc()
    print(json.dumps(failed), flush=True)
    os._exit(0)  # not every driver lets a process end that has forked


if __name__ == "__main__":
    main(sys.argv[1], Places(*sys.argv[2:]))
