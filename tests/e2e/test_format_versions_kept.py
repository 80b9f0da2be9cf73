"""A rolling deployment with saved messages: what one release owes is settled by one that can read it, once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.harness.redis import RedisServer
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import new_session, open_gate, status
from .test_format_versions import LATER_APP, LATER_FORMAT, call, everything, refused
from .test_kept_chats import APP, ask, body_of, brief, database, enter, messages

__all__ = ["database"]  # the fixture

pytestmark = pytest.mark.anyio

LATER = {**LATER_FORMAT, "CHAT_MODULE": "tests.apps.keeping"}
SETTINGS: dict[str, object] = {
    "outbox_seconds": 0.2,
    "outbox_retry_seconds": 0.2,
    "save_visible_seconds": 0.2,
    "save_total_seconds": 0.5,
    "save_attempt_seconds": 0.5,
}
SAID = ("assistant", "w0 w1 w2 ", "yes")


@contextmanager
def locked(database: str) -> Iterator[None]:
    """Nobody else can write to a SQLite file meanwhile."""
    path = Path(database.partition("///")[2])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def leave_save_owed(worker: Worker, database: str) -> tuple[str, str]:
    """Have a worker close a stream whose reply it could not save, and kill it. Returns session and stream id."""
    session = new_session()
    async with AsyncExitStack() as stack:
        stream = await enter(stack, worker, body_of(session, n=3, gate=session, gate_at=1), key=session)
        await stream.read_events(3)
        with locked(database):
            open_gate(worker, session)
            events = await stream.read_rest()
            assert any('"persistence_' in event.data for event in events)
            await wait_until_async(lambda: not status(worker, session)["active"], description="the stream is closed")
            worker.kill()
    return session, stream.headers["x-stream-id"]


async def test_what_a_later_version_owes_is_left_to_it(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker], database: str
) -> None:
    server = own_redis()
    env = {"KEEPING_DATABASE_URL": database}
    later = worker(server.url, app=LATER_APP, env={**env, **LATER}, **SETTINGS)
    theirs, their_stream = await leave_save_owed(later, database)
    dying = worker(server.url, app=APP, env=env, **SETTINGS)
    ours, _ = await leave_save_owed(dying, database)
    before = everything(server, their_stream)
    present = worker(server.url, app=APP, env=env, **SETTINGS)
    wait_until(lambda: SAID in brief(messages(present, ours)), description="this version settled its own")
    assert everything(server, their_stream) == before
    with closing(sqlite3.connect(database.partition("///")[2])) as connection:
        counted = connection.execute("SELECT count(*) FROM streamguard_messages WHERE role = 'assistant'").fetchone()
    assert counted == (1,)
    later.start()
    wait_until(lambda: SAID in brief(messages(later, theirs)), description="the later version settled its own")
    assert [role for role, _, _ in brief(messages(later, theirs))] == ["user", "assistant"]
    assert status(later, theirs)["last"]["persisted"] == "yes"


async def test_a_later_version_settles_what_this_one_owes(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker], database: str
) -> None:
    server = own_redis()
    env = {"KEEPING_DATABASE_URL": database}
    session, _ = await leave_save_owed(worker(server.url, app=APP, env=env, **SETTINGS), database)
    later = worker(server.url, app=LATER_APP, env={**env, **LATER}, **SETTINGS)
    wait_until(lambda: SAID in brief(messages(later, session)), description="the later version settled it")
    assert [role for role, _, _ in brief(messages(later, session))] == ["user", "assistant"]
    present = worker(server.url, app=APP, env=env, **SETTINGS)
    assert status(present, session)["last"]["persisted"] == "yes"
    unread = call(present, "GET", f"{session}/messages")  # the reply's row is of the later format
    assert (unread.status_code, unread.json()["error"]["code"]) == (503, "store_unavailable")


async def test_a_key_that_a_later_version_has_seen(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker], database: str
) -> None:
    """Whether it is the same request cannot be told, so it is not run a second time."""
    server = own_redis()
    env = {"KEEPING_DATABASE_URL": database}
    later = worker(server.url, app=LATER_APP, env={**env, **LATER})
    present = worker(server.url, app=APP, env=env)
    body = body_of(new_session(), n=3)
    assert (await ask(later, body, key="k1")).status_code == 200
    refused(await ask(present, body, key="k1"), "newer_format")
    refused(await ask(present, body_of(new_session(), n=1), key="k1"), "newer_format")
    again = body_of(new_session(), n=3)
    first = await ask(present, again, key="k2")
    assert first.status_code == 200
    second = await ask(later, again, key="k2")
    assert (second.status_code, second.headers["x-stream-id"]) == (200, first.headers["x-stream-id"])
