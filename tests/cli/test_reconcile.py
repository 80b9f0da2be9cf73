"""`streamguard reconcile` after real workers have died, with the application's own guard."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from streamguard import Anonymous, ConfigurationError, Settings, StreamGuard
from streamguard.quota import RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.stores.redis import RedisStore
from streamguard.testing._stream_store.outbox import enqueued
from streamguard.values import SessionKey, StreamRef, new_stream_id

from ..apps.counting import LIMIT
from ..e2e.calls import new_session, open_gate, post, status
from ..e2e.conftest import SHORT_LEASE, environment
from ..e2e.test_saving import Place
from ..harness.ports import free_port
from ..harness.redis import RedisServer
from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .running import begun, ran

pytestmark = pytest.mark.anyio

APP = "tests.apps.saving"
GUARD = f"{APP}:guard"
SETTINGS: dict[str, object] = {
    **SHORT_LEASE,
    "save_visible_seconds": 1.0,
    "save_total_seconds": 0.5,
    "outbox_seconds": 3_600.0,
    "outbox_retry_seconds": 0.1,
    "outbox_max_retry_seconds": 0.1,
}
"""Workers look at the outbox so seldom that it is left to the command."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def server(own_redis: Callable[..., RedisServer]) -> RedisServer:
    return own_redis()


@pytest.fixture
async def redis_client(server: RedisServer) -> AsyncIterator[RedisClient]:
    async with RedisClient(server.url, command_seconds=5) as client:
        yield client


def environment_of(server: RedisServer, place: Place, **settings: object) -> dict[str, str]:
    return {**environment(server.url, **{**SETTINGS, **settings}), **place.env}


async def killed_in_mid_stream(env: dict[str, str]) -> tuple[str, str]:
    """A session and its stream, whose worker is gone."""
    session = new_session()
    with Worker(f"{APP}:application", env=env) as worker:
        async with post(worker, session, n=5, gate=session, gate_at=3) as stream:
            await stream.read_events(5)
            worker.kill()
            return session, stream.headers["x-stream-id"]


async def closed_with_a_save_owed(env: dict[str, str], place: Place) -> tuple[str, str]:
    """A session and its stream, which ended while the database failed; its worker is gone."""
    session = new_session()
    place.breaks("fail")
    with Worker(f"{APP}:application", env=env) as worker:
        async with post(worker, session, n=3) as stream:
            await stream.read_rest()
            assert status(worker, session)["last"]["persisted"] == "pending"
            worker.kill()
            return session, stream.headers["x-stream-id"]


def reconciled(env: dict[str, str], *more: str) -> tuple[int, dict[str, Any]]:
    done = ran("reconcile", "--app", GUARD, "--json", *more, env=env)
    return done.code, done.json


def orphaned(env: dict[str, str], count: int = 1) -> None:
    """Wait until so many streams are past their lease."""
    wait_until(
        lambda: (
            len(json.loads(ran("reconcile", "--app", GUARD, "--dry-run", "--json", env=env).out)["planned"]) == count
        ),
        description="their lease ran out",
        timeout=40,
    )


async def test_what_a_dead_worker_left_is_planned_then_ended_and_saved_once(server: RedisServer, place: Place) -> None:
    """Promises I10 and I11."""
    env = environment_of(server, place)
    session, stream_id = await killed_in_mid_stream(env)
    orphaned(env)
    for _ in range(2):
        code, shape = reconciled(env, "--dry-run")
        (planned,) = shape["planned"]
        assert (code, planned["step"], planned["stream_id"]) == (1, "interrupt", stream_id)
        assert (planned["session_id"], planned["binding"]) == (session, "tests.apps.saving:chat")
        assert planned["waiting_seconds"] > 0
    shown = ran("reconcile", "--app", GUARD, "--dry-run", env=env)
    assert shown.rows[-1] == "1 to do; nothing was done"
    assert shown.rows[1].endswith("end as interrupted")
    assert place.replies(session) == []
    began = time.monotonic()
    code, done = reconciled(env, "--once")
    assert time.monotonic() - began >= SHORT_LEASE["lease_seconds"], "it watched the store for a lease first"
    assert (code, done["orphan_settled"], done["save_failed"], done["left"]) == (0, 1, 0, [])
    (event,) = [one for one in done["events"] if one["event"] == "orphan_settled"]
    assert (event["stream_id"], event["outcome"]) == (stream_id, "interrupted")
    (row,) = place.replies(session)
    assert row["outcome"] == "interrupted"
    assert "w0 w1 w2" in json.dumps(row["parts"])
    code, again = reconciled(env, "--once", "--impatient")
    assert (code, again["orphan_settled"], again["events"]) == (0, 0, [])
    assert ran("reconcile", "--app", GUARD, "--dry-run", env=env).out == "nothing to do\n"
    assert len(place.replies(session)) == 1


async def test_a_save_that_is_owed_is_made_when_the_database_is_back(server: RedisServer, place: Place) -> None:
    env = environment_of(server, place)
    session, stream_id = await closed_with_a_save_owed(env, place)
    orphaned(env)
    code, shape = reconciled(env, "--dry-run")
    (planned,) = shape["planned"]
    assert (code, planned["step"], planned["stream_id"]) == (1, "save", stream_id)
    code, done = reconciled(env, "--once", "--impatient")
    assert (code, done["save_recovered"], done["save_failed"], done["save_buried"]) == (1, 0, 1, 0)
    (left,) = done["left"]
    assert (left["stream_id"], left["session_id"], left["duty"]) == (stream_id, session, "outbox")
    place.mended("fail")
    orphaned(env)
    done_in_words = ran("reconcile", "--app", GUARD, "--once", "--impatient", env=env)
    assert done_in_words.code == 0
    assert (
        done_in_words.rows[-1]
        == "0 streams ended, 1 save made, 0 failed, 0 given up, 0 settled late, 0 reservations expired"
    )
    assert done_in_words.rows[0].startswith(f"save_recovered stream_id={stream_id} session_id={session} owner_hash=")
    assert len(place.replies(session)) == 1
    assert ran("outbox", "list", server.url).out == "0 dead, 0 due or waiting\n"


async def test_a_save_that_always_fails_is_given_up_and_can_be_replayed(server: RedisServer, place: Place) -> None:
    env = environment_of(server, place, max_outbox_attempts=2)
    session, stream_id = await closed_with_a_save_owed(env, place)
    buried = 0
    while not buried:
        orphaned(env)
        code, done = reconciled(env, "--once", "--impatient")
        assert code == 1
        buried = done["save_buried"]
    listed = ran("outbox", "list", server.url, "--dead", "--json").json
    assert [(entry["stream_id"], entry["attempts"]) for entry in listed["entries"]] == [(stream_id, 2)]
    assert ran("reconcile", "--app", GUARD, "--dry-run", env=env).code == 0, "a dead letter is nobody's work"
    place.mended("fail")
    assert ran("outbox", "replay", server.url, stream_id).code == 0
    code, done = reconciled(env, "--once", "--impatient")
    assert (code, done["save_recovered"]) == (0, 1)
    assert len(place.replies(session)) == 1
    last = ran("show", server.url, session, "--owner", "ann", "--json").json["streams"][0]
    assert last["persisted"] == "yes"


async def test_it_goes_on_until_it_is_told(server: RedisServer, place: Place) -> None:
    env = environment_of(server, place)
    session, stream_id = await killed_in_mid_stream(env)
    going = begun("reconcile", "--app", GUARD, "--json", env=env)
    assert going.stdout is not None
    event = json.loads(await asyncio.to_thread(going.stdout.readline))
    assert (event["event"], event["stream_id"], event["session_id"]) == ("orphan_settled", stream_id, session)
    going.send_signal(signal.SIGTERM)
    await asyncio.to_thread(going.communicate, timeout=30)
    assert going.returncode == 0
    assert len(place.replies(session)) == 1
    going = begun("reconcile", "--app", GUARD, env=env)
    assert going.stdout is not None
    assert await asyncio.to_thread(going.stdout.readline) == "reconciling; Ctrl-C ends it\n"
    going.send_signal(signal.SIGINT)
    await asyncio.to_thread(going.communicate, timeout=30)
    assert going.returncode == 0


async def test_what_this_application_cannot_do_is_left(store: RedisStore, redis_url: str, tmp_path: Path) -> None:
    ref = await enqueued(store)
    where = module(
        tmp_path,
        f"""
        from streamguard import Settings, StreamGuard, anonymous
        guard = StreamGuard({redis_url!r}, authenticate=anonymous, settings=Settings(command_seconds=5))
        """,
    )
    command = ("reconcile", "--app", "shop:guard")
    (planned,) = ran(*command, "--dry-run", "--json", cwd=where).json["planned"]
    assert (planned["stream_id"], planned["step"]) == (ref.stream_id, "leave_unknown_binding")
    done = ran(*command, "--once", "--impatient", cwd=where)
    assert done.code == 1
    assert done.rows[0] == f"left stream_id={ref.stream_id} duty=outbox reason=unknown_binding"


async def test_a_reservation_that_nobody_holds_is_planned_then_ended_once(
    server: RedisServer, redis_client: RedisClient
) -> None:
    """Its worker died before the stream was registered; another of the same owner's lives."""
    env = {**environment(server.url, **SETTINGS), "COUNTING_REDIS": server.url}
    command = ("reconcile", "--app", "tests.apps.counting:guard")
    ref, live = (StreamRef(SessionKey("ann", session), new_stream_id()) for session in ("c1", "c2"))
    await RedisQuotaStore(redis_client, hold_seconds=0.2, stale_seconds=0.1).reserve(ref, {"tokens": 100}, [LIMIT])
    await RedisQuotaStore(redis_client).reserve(live, {"tokens": 100}, [LIMIT])
    wait_until(lambda: ran(*command, "--dry-run", env=env).code, description="it expired", timeout=30)
    for _ in range(2):
        done = ran(*command, "--dry-run", "--json", env=env)
        (planned,) = done.json["planned"]
        assert (done.code, planned["stream_id"], planned["session_id"]) == (1, ref.stream_id, "c1")
        assert (planned["step"], planned["reserved"]) == ("expire", {"tokens": 100})
        assert (planned["binding"], planned["waiting_seconds"]) == ("", None)
    shown = ran(*command, "--dry-run", env=env)
    assert (shown.rows[1].endswith("give back 100 tokens"), shown.rows[-1]) == (True, "1 to do; nothing was done")
    done = ran(*command, "--once", "--impatient", "--json", env=env)
    assert (done.code, done.json["reservation_expired"], done.json["left"]) == (0, 1, [])
    assert ran(*command, "--dry-run", env=env).out == "nothing to do\n"
    again = ran(*command, "--once", "--impatient", env=env)
    assert again.rows == ["0 streams ended, 0 saves made, 0 failed, 0 given up, 0 settled late, 0 reservations expired"]
    assert [one.ref for one in await RedisQuotaStore(redis_client).held("ann")] == [live]


async def test_a_dry_run_that_cannot_ask_the_quota_says_so(server: RedisServer) -> None:
    env = {**environment(server.url, **SETTINGS), "COUNTING_REDIS": f"redis://127.0.0.1:{free_port()}"}
    done = ran("reconcile", "--app", "tests.apps.counting:guard", "--dry-run", "--json", env=env)
    assert (done.code, done.json["error"]["code"]) == (3, "store_unreachable")


async def test_live_streams_are_left_alone(server: RedisServer, place: Place) -> None:
    env = environment_of(server, place)
    session = new_session()
    with Worker(f"{APP}:application", env=env) as worker:
        async with post(worker, session, n=5, gate=session, gate_at=3) as stream:
            await stream.read_events(5)
            code, done = await asyncio.to_thread(reconciled, env, "--once")
            assert (code, done["events"]) == (0, [])
            open_gate(worker, session)
            assert (await stream.read_rest())[-1].data == "[DONE]"
        assert status(worker, session)["last"]["outcome"] == "completed"


# -- applications that cannot be used ---------------------------------------------------------------------------------


def module(directory: Path, text: str) -> Path:
    (directory / "shop.py").write_text(dedent(text))
    return directory


def test_a_guard_is_found_from_the_present_directory_and_prints_nothing_of_its_own(
    tmp_path: Path, redis_url: str
) -> None:
    where = module(
        tmp_path,
        f"""
        print("the application says hello")
        from streamguard import Settings, StreamGuard, anonymous
        class Site:
            guard = StreamGuard({redis_url!r}, authenticate=anonymous, settings=Settings(command_seconds=5))
        """,
    )
    done = ran("reconcile", "--app", "shop:Site.guard", "--dry-run", "--json", cwd=where)
    assert (done.code, done.json) == (0, {"planned": []})
    assert "the application says hello" in done.err


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("shop", "--app takes MODULE:GUARD"),
        (":guard", "--app takes MODULE:GUARD"),
        ("nosuch:guard", "nosuch cannot be imported: ModuleNotFoundError"),
        ("shop:nothing", "shop has no nothing"),
        ("shop:number", "shop:number is no StreamGuard but of the class int"),
        ("shop:guard", "memory:// streams are in their own process"),
    ],
)
@pytest.mark.parametrize("how", ["--once", "--dry-run", None])
def test_what_is_no_guard_is_refused(tmp_path: Path, app: str, says: str, how: str | None) -> None:
    where = module(
        tmp_path,
        """
        from streamguard import StreamGuard, anonymous
        number = 1
        guard = StreamGuard("memory://", authenticate=anonymous)
        """,
    )
    done = ran("reconcile", "--app", app, *([how] if how else []), cwd=where)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_an_application_that_fails_to_load_is_told_of(tmp_path: Path) -> None:
    done = ran("reconcile", "--app", "shop:guard", "--json", cwd=module(tmp_path, "1 / 0"))
    assert done.code == 2
    assert done.json["error"] == {
        "code": "app_failed",
        "message": "shop cannot be imported: ZeroDivisionError: division by zero",
    }


@pytest.mark.parametrize("how", ["--once", "--dry-run"])
def test_a_store_that_is_away_is_told_of(tmp_path: Path, how: str) -> None:
    where = module(
        tmp_path,
        f"""
        from streamguard import StreamGuard, anonymous
        guard = StreamGuard("redis://ann:hunter2@127.0.0.1:{free_port()}", authenticate=anonymous)
        """,
    )
    done = ran("reconcile", "--app", "shop:guard", how, "--json", cwd=where)
    assert (done.code, done.json["error"]["code"]) == (3, "store_unreachable")
    assert "hunter2" not in done.out + done.err


async def test_a_guard_that_reconciles_is_a_guard_that_runs(redis_url: str) -> None:
    """It cannot be started twice, and not while it serves."""

    guard = StreamGuard(
        redis_url, authenticate=Anonymous("a secret of some length"), settings=Settings(command_seconds=5)
    )
    async with guard.reconciling() as reconciler:
        assert reconciler.shared
        with pytest.raises(ConfigurationError, match="running already"):
            await guard.__aenter__()
    async with guard:
        with pytest.raises(ConfigurationError, match="running already"):
            await guard.reconciling().__aenter__()
