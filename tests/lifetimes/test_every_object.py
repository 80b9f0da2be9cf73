"""What is made at import works in a second event loop, a second task, a second guard, a forked worker."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pydantic
import pytest
from starlette.testclient import TestClient

from streamguard import ConfigurationError, StreamGuard
from tests.harness.postgres import PostgresServer
from tests.harness.redis import RedisServer

from .kinds import KINDS, Places, chat_app
from .scenes import SCENES

ROOT = Path(__file__).parents[2]

PUBLIC = (
    "streamguard",
    "streamguard.messages",
    "streamguard.messages.sql",
    "streamguard.quota",
    "streamguard.stores",
    "streamguard.testing",
)
WITHOUT_A_LIFE = {
    "AllAppended": "one commit's",
    "Answer": "one answer's",
    "AppendCache": "one stream's",
    "EndpointStoreSuite": "tests",
    "Identity": "a string",
    "InspectionSuite": "tests",
    "MessageStoreSuite": "tests",
    "MessageTables": "names of tables",
    "OutboxSuite": "tests",
    "QuotaStoreSuite": "tests",
    "Registered": "one answer's",
    "Run": "one stream's",
    "StartedRun": "one stream's",
    "StoreFaults": "one store's",
    "StoreService": "what stores derive from",
    "StreamGuardMiddleware": "one application's, like the layer that `wrap` adds",
    "StreamLogSuite": "tests",
    "StreamRule": "what it is given",
    "StreamStoreSuite": "tests",
    "ViewerReportsSuite": "tests",
    "Visitor": "one application's",
    "WorkSharingSuite": "tests",
    "WorkerReportsSuite": "tests",
}
"""Public classes that nobody makes at import, or that hold nothing between calls."""


@pytest.fixture
def places(redis_url: str) -> Places:
    return Places(redis_url, postgres="", sqlite="")


def test_no_public_object_is_left_out() -> None:
    found = set()
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            thing = getattr(module, name)
            if not inspect.isclass(thing) or inspect.isabstract(thing) or getattr(thing, "_is_protocol", False):
                continue
            params = vars(thing)["__dataclass_params__"] if dataclasses.is_dataclass(thing) else None
            facts = params is not None and (params.frozen or params.unsafe_hash)  # the second are `streamguard.facts`
            if not (facts or issubclass(thing, (BaseException, enum.Enum, pydantic.BaseModel, tuple))):
                found.add(name)
    tried = {name.partition("(")[0] for name in KINDS}
    assert found - tried == set(WITHOUT_A_LIFE)


@pytest.fixture(scope="module")
def failed_in(
    redis_server: RedisServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, str]]:
    """What failed in a scene, by the name of the kind; each scene is played once."""
    played: dict[str, dict[str, str]] = {}

    def play(scene: str) -> dict[str, str]:
        if scene not in played:
            sqlite = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('scene') / 'chat.db'}"
            places = (redis_server.database_url(0), str(postgres_server.url()), sqlite)
            command = [sys.executable, "-W", "ignore", "-m", "tests.lifetimes.scenes", scene, *places]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
            assert done.stdout, done.stderr[-4000:]
            played[scene] = json.loads(done.stdout.splitlines()[-1])
        return played[scene]

    return play


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("scene", SCENES)
def test_it_works_in(scene: str, name: str, failed_in: Callable[[str], dict[str, str]]) -> None:
    assert failed_in(scene).get(name, "") == ""


# -- guards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory", "redis"])
def test_a_guard_is_entered_in_one_task_and_left_in_another(places: Places, url: str) -> None:
    """As a pytest-asyncio fixture is."""
    guard, _ = chat_app(places, "memory://" if url == "memory" else places.redis)

    async def fixture() -> AsyncIterator[StreamGuard]:
        async with guard:
            yield guard

    async def run() -> None:
        for _ in range(2):
            generator = fixture()
            await asyncio.create_task(anext(generator))  # type: ignore[arg-type]
            with pytest.raises(StopAsyncIteration):
                await asyncio.create_task(anext(generator))  # type: ignore[arg-type]
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_a_guard_left_in_another_loop_says_why_not(places: Places) -> None:
    guard, _ = chat_app(places, "memory://")
    asyncio.run(guard.__aenter__())
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(guard.__aexit__(None, None, None))
    asyncio.run(use_once(guard))


def test_a_guard_whose_loop_was_closed_starts_again(places: Places) -> None:
    guard, _ = chat_app(places, "memory://")
    asyncio.run(guard.__aenter__())
    asyncio.run(use_once(guard))


def test_a_guard_that_runs_elsewhere_is_not_started_here(places: Places) -> None:
    guard, app = chat_app(places, "memory://")
    with TestClient(app), pytest.raises(ConfigurationError, match="running already"):
        asyncio.run(use_once(guard))
    asyncio.run(use_once(guard))


async def use_once(guard: StreamGuard) -> None:
    async with guard:
        await guard.idle()
