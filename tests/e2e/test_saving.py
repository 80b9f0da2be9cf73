"""Workers that die at every step of a stream's end, and databases that fail or are slow: one row, equal to the log's
fold, one terminal, nothing owed (I4, I6, I7)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamguard.messages.sql import SQLMessageStore
from streamguard.stores.redis.scripts import Scripts
from streamguard.wire import fold
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, ui_text
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import expected_text, open_gate, post, status, trace
from .conftest import SHORT_LEASE
from .logs import codes, log_of, parts_of, terminals
from .steps import reached, stop_at

pytestmark = pytest.mark.anyio

APP = "tests.apps.saving:application"

SAVING = {
    "save_visible_seconds": 1.5,
    "save_total_seconds": 1.5,
    "outbox_seconds": 0.2,
    "outbox_retry_seconds": 0.2,
    **SHORT_LEASE,
}


class Place:
    """A database, and the ways to break it."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "chats.db"
        self.faults = directory / "faults"
        self.faults.mkdir()
        self.env = {
            "SAVING_DATABASE_URL": f"sqlite+aiosqlite:///{self.file}",
            "SAVING_FAULTS": str(self.faults),
        }
        store = SQLMessageStore(self.env["SAVING_DATABASE_URL"])

        async def create() -> None:
            await store.create_tables()
            await store.aclose()

        asyncio.run(create())

    def breaks(self, how: str) -> None:
        (self.faults / how).touch()

    def mended(self, how: str) -> None:
        (self.faults / how).unlink()

    def replies(self, session: str) -> list[dict[str, Any]]:
        """The content of every stored reply of a session."""
        query = "SELECT content FROM streamguard_messages WHERE session_id = ? AND role = 'assistant'"
        with closing(sqlite3.connect(self.file, timeout=10)) as database:
            return [json.loads(content) for (content,) in database.execute(query, (session,))]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def saving(place: Place, worker: Callable[..., Worker]) -> Callable[..., Worker]:
    """Starts workers that keep their chats in `place`: `saving(url, lease_seconds=…)`."""

    def start(url: str, **settings: object) -> Worker:
        return worker(url, app=APP, env=place.env, **SAVING | settings)

    return start


def fold_of(server: RedisServer, stream_id: str, message_id: str) -> list[Any]:
    """The parts that the log folds to."""
    fields = [entry for _, entry in log_of(server.client(), stream_id)]
    payloads = [entry[name] for entry in fields for name in (b"d", b"c") if name in entry]
    return list(fold(message_id, payloads).parts)


def owed(server: RedisServer) -> list[bytes]:
    """The members of the outbox's index, dead letters included."""
    client = server.client()
    keys = [key for key in client.scan_iter(count=1000) if b"outbox" in key and client.type(key) == b"zset"]
    members: list[bytes] = []
    for key in keys:
        members += client.zrange(key, 0, -1)  # type: ignore[arg-type] # without scores
    return members


def settled(place: Place, server: RedisServer, worker: Worker, session: str, stream_id: str) -> bool:
    """Whether the stream is closed and saved, and nothing is owed."""
    last = status(worker, session)["last"]
    return bool(
        terminals(server, stream_id)
        and last is not None
        and last["persisted"] == "yes"
        and place.replies(session)
        and not owed(server)
    )


def check_row(place: Place, server: RedisServer, session: str, stream_id: str, message_id: str) -> dict[str, Any]:
    (row,) = place.replies(session)
    assert row["parts"] == fold_of(server, stream_id, message_id)
    assert row["stream_id"] == stream_id
    (terminal,) = terminals(server, stream_id)
    assert row["outcome"] == terminal["outcome"]
    return row


# Per step: whether the database fails, and the script whose request or reply is lost when the worker dies.
STEPS: dict[str, tuple[str | None, tuple[str, str] | None]] = {
    "streaming": (None, None),
    "before the seal": (None, ("request", "seal")),
    "after the seal": (None, ("reply", "seal")),
    "while it is saved": ("slow", None),
    "after the save": (None, ("request", "close")),
    "after the close": (None, ("reply", "close")),
    "before the outbox entry": ("fail", ("request", "enter_outbox")),
    "after the outbox entry": ("fail", ("reply", "enter_outbox")),
    "before a close that owes": ("fail", ("request", "close")),
    "after a close that owes": ("fail", ("reply", "close")),
}


@pytest.mark.promise("I6")
@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_killed_after_any_step(
    step: str, place: Place, server: RedisServer, proxy: FaultProxy, saving: Callable[..., Worker], session: str
) -> None:
    how, stop = STEPS[step]
    dying = saving(proxy.redis_url(), command_seconds=30.0)
    other = saving(server.url)
    if how is not None:
        place.breaks(how)
    if stop is not None:
        what, script = stop
        stop_at(proxy, what, Scripts.load().digests[script])
    async with post(dying, session, n=6, gate=session, gate_at=4) as stream:
        await stream.read_events(6)
        stream_id, message_id = stream.headers["x-stream-id"], stream.headers["x-message-id"]
        if step != "streaming":
            open_gate(dying, session)
        if stop is not None:
            await reached(proxy, f"the worker is {step}")
        elif how == "slow":
            await wait_until_async(lambda: f"saving {session}" in trace(dying), description="it is being saved")
        dying.kill()
    if how is not None:
        place.mended(how)
    wait_until(lambda: settled(place, server, other, session, stream_id), description="it is settled", timeout=40)
    row = check_row(place, server, session, stream_id, message_id)
    text = "".join(part.get("text", "") for part in row["parts"])
    if step in ("streaming", "before the seal"):
        assert row["outcome"] == "interrupted"
        assert expected_text(6).startswith(text)
        assert text.startswith(expected_text(4))
    else:
        assert (row["outcome"], text) == ("completed", expected_text(6))


async def test_a_new_post_need_not_wait_for_a_sealed_stream(
    server: RedisServer, proxy: FaultProxy, saving: Callable[..., Worker], session: str
) -> None:
    """Its end is decided; whoever closes it clears the pointer only if it is still its own."""
    dying = saving(proxy.redis_url(), command_seconds=30.0)
    other = saving(server.url)
    stop_at(proxy, "reply", Scripts.load().digests["seal"])
    async with post(dying, session, n=3) as stream:
        await reached(proxy, "the stream is sealed")
        dying.kill()
        first_id = stream.headers["x-stream-id"]
    async with post(other, session, n=4, gate=session, gate_at=2) as second:
        assert second.status == 200
        await second.read_events(4)
        await wait_until_async(lambda: terminals(server, first_id), description="the first stream was closed")
        assert status(other, session)["active"]["stream_id"] == second.headers["x-stream-id"]
        open_gate(other, session)
        await second.read_rest()


async def test_a_worker_killed_between_a_late_save_and_its_record(
    place: Place, server: RedisServer, proxy: FaultProxy, saving: Callable[..., Worker], session: str
) -> None:
    """It closed the stream as pending, saved it then, and died before it could say so."""
    dying = saving(proxy.redis_url(), save_visible_seconds=0.2)
    other = saving(server.url, save_visible_seconds=0.2)
    place.breaks("slow")
    stop_at(proxy, "request", Scripts.load().digests["complete"])
    async with post(dying, session, n=6) as stream:
        events = await stream.read_rest()
        assert stream.ending is Ending.CLEAN
        stream_id, message_id = stream.headers["x-stream-id"], stream.headers["x-message-id"]
    assert codes(events) == ["persistence_pending"]
    assert status(other, session)["last"]["persisted"] == "pending"
    place.mended("slow")
    await reached(proxy, "it is saved, and about to be recorded")
    dying.kill()
    wait_until(lambda: settled(place, server, other, session, stream_id), description="it is settled", timeout=40)
    check_row(place, server, session, stream_id, message_id)


async def test_a_save_that_is_slower_than_clients_wait(
    place: Place, server: RedisServer, saving: Callable[..., Worker], session: str
) -> None:
    one = saving(server.url, save_visible_seconds=0.2)
    place.breaks("slow")
    async with post(one, session, n=6) as stream:
        events = await stream.read_rest()
        assert stream.ending is Ending.CLEAN
        stream_id, message_id = stream.headers["x-stream-id"], stream.headers["x-message-id"]
    assert ui_text(events) == expected_text(6)
    assert codes(events) == ["persistence_pending"]
    assert place.replies(session) == []
    place.mended("slow")
    wait_until(lambda: settled(place, server, one, session, stream_id), description="the row comes later")
    check_row(place, server, session, stream_id, message_id)
    assert terminals(server, stream_id)[0]["persisted"] == "pending"


async def test_a_database_that_is_down_and_comes_back(
    place: Place, server: RedisServer, saving: Callable[..., Worker], session: str
) -> None:
    one = saving(server.url)
    place.breaks("fail")
    async with post(one, session, n=6, question=question("q1")) as stream:
        events = await stream.read_rest()
        stream_id, message_id = stream.headers["x-stream-id"], stream.headers["x-message-id"]
    assert codes(events) == ["persistence_failed"]
    (part,) = parts_of(events, "data-streamguard-error")
    assert (part["data"]["user_message_id"], part["data"]["message_id"]) == ("q1", message_id)
    assert part["data"]["actions"] == ["resend", "download"]
    assert events[-2].data == '{"type":"finish"}'
    assert status(one, session)["last"]["persisted"] == "pending"
    place.mended("fail")
    wait_until(lambda: settled(place, server, one, session, stream_id), description="it is settled")
    check_row(place, server, session, stream_id, message_id)


def question(message_id: str) -> dict[str, object]:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": "What?"}]}


async def test_sigterm_during_a_slow_save(
    place: Place, server: RedisServer, saving: Callable[..., Worker], session: str
) -> None:
    """The server's graceful timeout is shorter than the save: a row or an outbox entry is there when the process is
    gone, and the next worker goes on at once."""
    patient = {"save_total_seconds": 60.0, "save_attempt_seconds": 60.0, "drain_seconds": 1.0}
    ending = saving(server.url, graceful_seconds=1, **patient)
    place.breaks("slow")
    async with post(ending, session, n=6) as stream:
        stream_id, message_id = stream.headers["x-stream-id"], stream.headers["x-message-id"]
        await wait_until_async(lambda: f"saving {session}" in trace(ending), description="it is being saved")
        ending.terminate()
        await stream.read_rest()
    await asyncio.to_thread(ending.wait_exit, 30.0)
    assert place.replies(session) or owed(server)
    assert "Application shutdown complete" in ending.log()
    place.mended("slow")
    other = saving(server.url, **patient)
    wait_until(lambda: settled(place, server, other, session, stream_id), description="it is settled", timeout=15)
    check_row(place, server, session, stream_id, message_id)
