"""A guard whose store only reads: clients resume and replay what others wrote, and nothing else can be asked of it."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from streamguard import ConfigurationError, FaultCode, StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota
from streamguard.stores import StreamLog
from streamguard.stores.memory import MemoryStore
from streamguard.stores.memory.request_claims import MemoryRequestClaims
from streamguard.stores.memory.stream_log import MemoryLog
from streamguard.stores.memory.stream_registry import MemoryRegistry
from streamguard.stores.memory.stream_writes import MemoryWrites
from streamguard.stores.memory.subscribers import Subscribers
from streamguard.stores.memory.tables import MemoryTables
from streamguard.testing import GuardedApp
from streamguard.values import START, SessionKey, StreamRef
from streamguard.wire.sse import SseEvent
from tests.stores import archive
from tests.stores.archive import Archive, file_of

from .serving import USER, user_of

pytestmark = pytest.mark.anyio

KEY = SessionKey("ann", "c1")


class EndpointStore(MemoryLog, MemoryRegistry, MemoryWrites, MemoryRequestClaims):
    """The roles that an endpoint needs, and no more."""

    def __init__(self) -> None:
        tables = MemoryTables(max_bytes=1_000_000, clock=time.monotonic, wall_us=lambda: time.time_ns() // 1_000)
        super().__init__(tables, Subscribers(tables.lock))


async def written(store: StreamLog) -> tuple[str, list[str]]:
    """A stream that a guard wrote to `store`: its id, and the cursors of its events."""
    guard = StreamGuard(store, authenticate=user_of)

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        for word in ("one ", "two ", "three"):
            yield word

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, headers=USER) as visitor:
        answer = await visitor.post({}, path="/chat?id=c1")
        events = await answer.rest()
        assert answer.stream_id is not None
        assert answer.text == "one two three"
        return answer.stream_id, cursors_of(events)


def cursors_of(events: list[SseEvent]) -> list[str]:
    """The cursors that events give, each once."""
    return list(dict.fromkeys(event.last_event_id for event in events if event.last_event_id))


async def keep(store: StreamLog, ref: StreamRef, directory: Path) -> None:
    """Write a stream's log to a file of an archive."""
    meta = await store.meta(ref)
    assert meta is not None
    events = await store.read(ref, START, max_bytes=1_000_000)
    path = file_of(directory, ref)
    path.parent.mkdir()
    rows = [(event.seq, event.epoch, event.kind, event.data.decode()) for event in events]
    path.write_text(json.dumps({"at": meta.created_at, "protocol": meta.protocol, "events": rows}))


def replaying(directory: Path) -> GuardedApp:
    """An application with a guard over an archive, and no endpoints."""
    guard = StreamGuard(Archive(directory), authenticate=user_of)
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("here"))], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    return GuardedApp(app, guard, headers=USER)


def test_the_archive_is_small() -> None:
    assert len(inspect.getsource(archive).splitlines()) <= 60


async def test_clients_replay_and_resume_what_another_guard_wrote(tmp_path: Path) -> None:
    store = MemoryStore()
    stream_id, cursors = await written(store)
    await keep(store, StreamRef(KEY, stream_id), tmp_path)

    async with replaying(tmp_path) as visitor:
        whole = await visitor.resume("c1")
        assert cursors_of(await whole.rest()) == cursors
        assert (whole.stream_id, whole.text) == (stream_id, "one two three")

        for seen, cursor in enumerate(cursors, 1):
            after = await visitor.resume("c1", after=cursor)
            if seen == len(cursors):
                assert after.status == 204
            else:
                assert cursors_of(await after.rest()) == cursors[seen:]

        assert await visitor.raw("c1", stream_id) == "one two three"
        last = (await visitor.status("c1")).last
        assert last is not None
        assert (last.stream_id, last.outcome) == (stream_id, "completed")


async def test_what_is_not_in_the_archive_is_not_found(tmp_path: Path) -> None:
    store = MemoryStore()
    stream_id, cursors = await written(store)
    await keep(store, StreamRef(KEY, stream_id), tmp_path)

    async with replaying(tmp_path) as visitor:
        assert (await visitor.resume("another")).status == 204
        gone = await visitor.resume("another", after=cursors[0])
        assert (gone.status, gone.faults[0].reason) == (410, "stream_gone")
        stranger = visitor.visitor({"x-user": "bob"})
        assert (await stranger.resume("c1")).status == 204


async def test_what_changes_streams_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    stream_id, _ = await written(store)
    await keep(store, StreamRef(KEY, stream_id), tmp_path)

    async with replaying(tmp_path) as visitor:
        assert (await visitor.stop("c1")).status == 204
        refused = await visitor.delete("c1")
        assert (refused.status, refused.faults[0].code) == (503, FaultCode.STORE_UNAVAILABLE)
        assert (await visitor.resume("c1")).status == 200
        ready = await visitor.request("GET", "/api/chat/health/ready")
        assert ready.status == 200


def test_an_endpoint_needs_a_store_that_writes(tmp_path: Path) -> None:
    guard = StreamGuard(Archive(tmp_path), authenticate=user_of)
    with pytest.raises(
        ConfigurationError, match=r"a guarded endpoint needs .* the roles StreamRegistry and .*, which Archive lacks"
    ):
        guard.stream()


def test_saving_needs_an_outbox(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="messages=… or save=… needs a stream store with the role Outbox"):
        StreamGuard(Archive(tmp_path), authenticate=user_of, messages=MemoryMessageStore())


@pytest.mark.parametrize("option", ["quota", "save", "abandon_after_seconds"])
def test_an_option_that_needs_a_lacking_role_is_refused(option: str) -> None:
    values: dict[str, object] = {"quota": Quota(1, "day"), "save": MemoryMessageStore(), "abandon_after_seconds": 5.0}
    guard = StreamGuard(EndpointStore(), authenticate=user_of)
    guard.stream()
    with pytest.raises(ConfigurationError, match=f"{option}=…"):
        guard.stream(**{option: values[option]})  # type: ignore[arg-type]


async def test_an_endpoint_runs_on_a_store_with_the_roles_that_it_needs(tmp_path: Path) -> None:
    store = EndpointStore()
    stream_id, cursors = await written(store)
    await keep(store, StreamRef(KEY, stream_id), tmp_path)
    async with replaying(tmp_path) as visitor:
        assert cursors_of(await (await visitor.resume("c1")).rest()) == cursors
