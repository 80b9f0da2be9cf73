"""What a process knows of its store although nobody asks for anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from streamguard import Anonymous, Settings, StreamGuard
from streamguard.errors import StoreForbiddenError, StoreUnavailableError
from streamguard.log_lines import LogEvent
from streamguard.observations import Signal
from streamguard.runtime.upkeep.health import RecentReasons
from streamguard.runtime.upkeep.readiness import Readiness
from streamguard.stores.memory import MemoryStore
from streamguard.unavailable import UnavailableReason
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.waiting import wait_until_async
from tests.telemetry.logged import logged

from .lines import Line
from .stage import quick, working

pytestmark = pytest.mark.anyio


def away() -> StoreUnavailableError:
    return StoreUnavailableError("away", operation="ping")


def forbidden(*lacks: str) -> StoreForbiddenError:
    return StoreForbiddenError("forbidden", operation="ping", lacks=lacks)


async def test_a_store_that_is_away_shows_although_nobody_asks() -> None:
    line = Line(MemoryStore())
    async with working(line, quick(readiness_probe_seconds=0.02)) as worker:
        assert worker.runtime.health().ready
        line.broken = {"ping"}
        await wait_until_async(lambda: not worker.runtime.health().ready, description="it shows")
        assert worker.runtime.health().reasons == ("store_unreachable",)
        assert not worker.runtime.breaker.open, "of which requests hear for themselves"
        line.broken = set()
        await wait_until_async(lambda: worker.runtime.health().ready, description="it is back")


async def test_one_look_that_failed_is_no_outage() -> None:
    line = Line(MemoryStore())
    async with working(line, quick(readiness_probe_seconds=60.0)) as worker:
        readiness = worker.runtime.readiness
        line.errors["ping"] = [away(), None, away(), away()]
        shown = []
        for _ in range(4):
            await readiness.probe()
            shown.append(worker.runtime.health().ready)
        assert shown == [True, True, True, False]
        await readiness.probe()
        assert worker.runtime.health().ready


async def test_the_log_says_once_that_it_went_away_and_once_that_it_is_back() -> None:
    """Nobody asks for anything, so nothing else would say so."""
    line = Line(MemoryStore())
    with logged() as lines:
        async with working(line, quick(readiness_probe_seconds=60.0)) as worker:
            readiness = worker.runtime.readiness
            line.errors["ping"] = [away(), None, away(), away(), away(), None, None, away(), away(), forbidden("XADD")]
            while line.errors["ping"]:
                await readiness.probe()
    events = [line["event"] for line in lines if str(line["event"]).startswith("streamguard.store_")]
    gone, back = LogEvent.STORE_UNREACHABLE, LogEvent.STORE_REACHABLE
    assert events == [gone, back, gone, back]
    (first, _) = (line for line in lines if line["event"] == gone)
    assert {name: first[name] for name in ("level", "error", "error_reason")} == {
        "level": "warning",
        "error": "StoreUnavailableError",
        "error_reason": UnavailableReason.OTHER,
    }


async def test_what_the_breaker_said_is_not_said_again() -> None:
    line = Line(MemoryStore())
    with logged() as lines:
        async with working(line, quick(readiness_probe_seconds=60.0, breaker_probe_seconds=60.0)) as worker:
            line.errors["ping"] = [away(), away()]
            worker.runtime.breaker.exhausted(away())
            for _ in range(2):
                await worker.runtime.readiness.probe()
        assert len(worker.signals(Signal.BREAKER_OPENED)) == 1
    assert LogEvent.STORE_UNREACHABLE not in {line["event"] for line in lines}


@pytest.mark.parametrize("error", [away(), ZeroDivisionError("a bug")], ids=["away", "bug"])
async def test_but_the_first_look_decides_alone(error: Exception) -> None:
    line = Line(MemoryStore())
    line.errors["ping"] = [error]
    async with working(line, quick(readiness_probe_seconds=60.0)) as worker:
        assert worker.runtime.health().reasons == ("store_unreachable",)


async def test_what_an_account_may_not_do_is_named_and_told_once() -> None:
    line = Line(MemoryStore())
    line.errors["ping"] = [forbidden("XADD", "keys")] * 2
    async with working(line, quick(readiness_probe_seconds=60.0)) as worker:
        await worker.runtime.readiness.probe()
        health = worker.runtime.health()
        assert (health.ready, health.reasons) == (False, ("store_forbids:XADD", "store_forbids:keys"))
        (warning,) = worker.signals(Signal.STORE_WARNING)
        assert "XADD, keys" in str(warning.fields["warning"])
        await worker.runtime.readiness.probe()
        assert worker.runtime.health().ready


async def test_a_store_that_hangs_holds_up_neither_the_start_nor_the_answer() -> None:
    line = Line(MemoryStore())
    line.hold("ping")
    async with asyncio.timeout(10), working(line, quick(command_seconds=0.05, readiness_probe_seconds=0.02)) as worker:
        assert worker.runtime.health().reasons == ("store_unreachable",)
        line.let_go("ping")
        await wait_until_async(lambda: worker.runtime.health().ready, description="it answers")


async def test_questions_of_health_ask_the_store_nothing() -> None:
    line = Line(MemoryStore())
    async with working(line, quick(readiness_probe_seconds=60.0)) as worker:
        for _ in range(100):
            worker.runtime.health()
        assert line.calls["ping"] == 1


async def test_while_the_breaker_is_open_it_alone_looks() -> None:
    line = Line(MemoryStore())
    async with working(line, quick(readiness_probe_seconds=60.0, breaker_probe_seconds=60.0)) as worker:
        runtime, turns = worker.runtime, list[None]()
        readiness = Readiness(
            line,
            runtime.breaker,
            quick(readiness_probe_seconds=0.01),
            observe=runtime.observe,
        )
        runtime.breaker.exhausted(away())
        looks = line.calls["ping"]
        assert runtime.health().reasons == readiness.reasons == ("store_unreachable",)
        looking = asyncio.create_task(readiness.run(on_probe=lambda: turns.append(None)))
        await wait_until_async(lambda: len(turns) >= 5, description="it could have looked five times")
        looking.cancel()
        await asyncio.wait([looking])
        assert line.calls["ping"] == looks


def test_a_reason_stays_for_a_while() -> None:
    now = 0.0
    recent = RecentReasons(10.0, clock=lambda: now)
    assert recent.add([]) == ()
    assert recent.add(["a", "b"]) == ("a", "b")
    now = 5.0
    assert recent.add(["b"]) == ("b", "a")
    now = 11.0
    assert recent.add([]) == ("b",)
    now = 15.5
    assert recent.add([]) == ()
    assert RecentReasons(0.0, clock=lambda: now).add([]) == ()


# -- as a load balancer sees it ---------------------------------------------------------------------------------------


class Probes:
    """The health routes of an application on some Redis."""

    def __init__(self, url: str, **settings: object) -> None:
        values: dict[str, object] = {
            "readiness_probe_seconds": 0.1,
            "command_seconds": 0.5,
            "breaker_probe_seconds": 0.1,
        }
        self.guard = StreamGuard(
            url, authenticate=Anonymous("a secret of some length"), settings=Settings.model_validate(values | settings)
        )
        self.app = FastAPI()
        self.guard.install(self.app, "/api/chat")

    async def ask(self, name: str) -> tuple[int, str, list[str]]:
        status, body = await self.document(name)
        return status, body["status"], body["reasons"]

    async def document(self, name: str) -> tuple[int, dict[str, Any]]:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://chat.example") as client:
            answer = await client.get(f"/api/chat/health/{name}")
        return answer.status_code, json.loads(answer.content)

    async def until(self, name: str, wanted: tuple[int, str, list[str]]) -> None:
        async def seen() -> bool:
            return await self.ask(name) == wanted

        looking: Callable[[], Awaitable[bool] | bool] = seen
        await wait_until_async(looking, description=f"{name} says {wanted}")


READY = (200, "ready", list[str]())
UNREADY = (503, "not_ready", ["store_unreachable"])


@pytest.mark.parametrize("how", ["stopped", "silent"])
async def test_readiness_follows_redis(own_redis: Callable[..., RedisServer], how: str) -> None:
    server = own_redis(aof=True)
    with FaultProxy(server.port) as proxy:
        probes = Probes(f"redis://127.0.0.1:{proxy.port}")
        async with probes.guard:
            assert await probes.ask("ready") == READY
            if how == "stopped":
                server.stop()
            else:
                server.pause()
            await probes.until("ready", UNREADY)
            assert await probes.ask("streaming") == (200, "degraded", ["store_unreachable"])
            if how == "stopped":
                server.start()
            else:
                server.resume()
            await probes.until("ready", READY)
            assert await probes.ask("streaming") == (200, "degraded", ["store_unreachable"]), "it does not flap"


async def test_readiness_says_why_redis_cannot_be_used(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(config={"maxmemory": "1", "maxmemory-policy": "noeviction"})
    probes = Probes(server.url, health_settle_seconds=0)
    async with probes.guard:
        status, body = await probes.document("ready")
        assert (status, body["reasons"], body["store_reason"]) == (503, ["store_unreachable"], "out_of_memory")
        assert (await probes.document("streaming"))[1]["store_reason"] == "out_of_memory"
        server.client().config_set("maxmemory", "0")
        await probes.until("ready", READY)
        assert "store_reason" not in (await probes.document("ready"))[1]


async def test_readiness_follows_an_account(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    admin = server.client().execute_command
    admin("ACL", "SETUSER", "streamguard", "on", ">secret", "~*", "&*", "+@all", "-evalsha", "-xadd")  # type: ignore[no-untyped-call] # redis-py
    probes = Probes(f"redis://streamguard:secret@127.0.0.1:{server.port}", health_settle_seconds=0)
    async with probes.guard:
        lacking = ["store_forbids:EVALSHA", "store_forbids:XADD"]
        assert await probes.ask("ready") == (503, "not_ready", lacking)
        assert await probes.ask("streaming") == (200, "degraded", lacking)
        admin("ACL", "SETUSER", "streamguard", "+@all")  # type: ignore[no-untyped-call] # redis-py
        await probes.until("ready", READY)
        admin("ACL", "SETUSER", "streamguard", "-publish")  # type: ignore[no-untyped-call] # redis-py
        await probes.until("ready", (503, "not_ready", ["store_forbids:PUBLISH"]))
