"""Finding the server that runs an application; with real ones in `tests/e2e/test_servers_that_stop.py`."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import uvicorn

from streamguard.web.application import servers
from streamguard.web.application.servers import ServerWatch
from tests.harness.waiting import wait_until_async

from ..serving import make_guard, serving

pytestmark = pytest.mark.anyio


class Watching:
    """A watch that runs."""

    def __init__(self) -> None:
        self.stops = 0
        self.watch = ServerWatch(self.stopped)

    def stopped(self) -> None:
        self.stops += 1


@pytest.fixture(autouse=True)
def _looks_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "LOOK_SECONDS", (0.0, 0.01))
    monkeypatch.setattr(servers, "ASK_SECONDS", 0.01)


async def test_without_a_server_it_gives_up() -> None:
    watching = Watching()
    await watching.watch.run()
    assert watching.stops == 0
    assert watching.watch.development  # this is a test


async def test_outside_a_test_nobody_is_taken_for_a_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching()
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    await watching.watch.run()
    assert not watching.watch.development


async def test_uvicorn_is_found_and_heard_to_stop() -> None:
    watching = Watching()
    async with serving(make_guard().app) as server:
        running = asyncio.create_task(watching.watch.run())
        await wait_until_async(lambda: watching.watch._server is not None, description="it is found")
        assert not watching.watch.development
        assert watching.stops == 0
        server.stop()
        await asyncio.wait_for(running, 10)
    assert watching.stops == 1


async def test_uvicorn_that_reloads_has_a_developer() -> None:
    watching = Watching()
    config = uvicorn.Config(make_guard().app, port=0, log_config=None, reload=True, lifespan="on")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving_it = asyncio.create_task(server._serve())
    await wait_until_async(lambda: server.started, description="it has started")
    running = asyncio.create_task(watching.watch.run())
    await wait_until_async(lambda: watching.watch._server is not None, description="it is found")
    assert watching.watch.development
    server.should_exit = True
    await asyncio.wait_for(running, 10)
    with contextlib.suppress(SystemExit):
        await serving_it
