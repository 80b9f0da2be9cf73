"""AI SDK's own clients where history changes: on every message store, and on two workers wherever they can share it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamguard.messages.sql import MessageTables, SQLMessageStore

from ..harness.workers import Worker
from .test_clients import node, run_script

__all__ = ["node"]

PREFIX = "editing_"
SETTINGS = json.dumps({"command_seconds": 10.0, "registration_seconds": 15.0, "max_streams_per_owner": 100})


@pytest.fixture(params=["memory", "redis", "sqlite", "postgresql", "mariadb"])
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Worker]]:
    """Two workers on one Redis and one place for messages; one that keeps all in memory."""
    if request.param == "memory":
        where, urls = "memory", ["memory://"]
    else:
        redis = str(request.getfixturevalue("redis_url"))
        urls = [redis, redis]
        where = redis if request.param == "redis" else _database(request, tmp_path)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Worker(
                    "tests.apps.editing:app",
                    env={
                        "STREAMGUARD_URL": url,
                        "STREAMGUARD_SETTINGS": SETTINGS,
                        "EDITING_MESSAGES": where,
                        "EDITING_PREFIX": PREFIX,
                    },
                )
            )
            for url in urls
        ]


def _database(request: pytest.FixtureRequest, directory: Path) -> str:
    """The URL of a database, with tables."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{directory / 'chats.db'}"
    else:
        url = str(request.getfixturevalue(f"{request.param.removesuffix('ql')}_server").url())
    store = SQLMessageStore(url, tables=MessageTables(prefix=PREFIX))

    async def create() -> None:
        await store.create_tables()
        await store.aclose()

    asyncio.run(create())
    return url


def test_the_page_after_a_reload_is_the_page_before(node: str, workers: list[Worker]) -> None:
    urls = [worker.url for worker in workers]
    environment = {"APP_URL": urls[0], "APP_WITHOUT_STORE_URL": urls[0], "ANSWERS": "{}", "WORKERS": json.dumps(urls)}
    run_script(node, "edits.test.mjs", environment)
