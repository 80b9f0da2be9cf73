"""Servers that stop by themselves drain as on a signal; where a developer waits, they do not wait for long."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import psutil
import pytest
from starlette.testclient import TestClient

from tests.apps import endless
from tests.harness.sse import Ending, SseConnection, open_sse
from tests.harness.waiting import wait_until_async
from tests.harness.workers import Server, Worker

pytestmark = pytest.mark.anyio

APP = "tests.apps.endless:app"
USER = {"X-User": "ann"}
PATIENT = {"drain_seconds": 60.0}
"""Far longer than a test waits: what ends before, ends because it does not wait for this."""
DRAINS = {"drain_seconds": 1.5}
SOON_SECONDS = 20.0
"""A busy machine's `soon`."""


def settings(**values: object) -> dict[str, str]:
    return {"STREAMGUARD_SETTINGS": json.dumps(values)}


async def ends_whole(stream: SseConnection) -> None:
    """The stream ends with its terminal and a clean end, soon."""
    async with asyncio.timeout(SOON_SECONDS):
        rest = await stream.read_rest()
    assert any("shutting_down" in event.data for event in rest)
    assert rest[-1].data == "[DONE]"
    assert stream.ending is Ending.CLEAN


async def get_plain(port: int) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/plain")).text == "plain"


async def both_answer(port: int) -> None:
    """Wait until two processes have answered."""
    pids: set[str] = set()

    async def asked() -> bool:
        async with httpx.AsyncClient() as client:  # a connection of its own each time
            pids.add((await client.get(f"http://127.0.0.1:{port}/pid")).text)
        return len(pids) == 2

    is_asked: Callable[[], Awaitable[bool] | bool] = asked
    await wait_until_async(is_asked, description="both workers have answered")


async def is_gone(worker: Worker) -> None:
    await wait_until_async(lambda: not worker.alive, description="the process has ended", timeout=SOON_SECONDS)


@pytest.mark.parametrize(
    ("server", "arguments"),
    [
        ("uvicorn", ("--limit-max-requests", "2")),
        ("hypercorn", ("--workers", "0", "--max-requests", "2", "--graceful-timeout", "30")),
    ],
)
async def test_a_server_past_its_number_of_requests_drains(server: str, arguments: tuple[str, ...]) -> None:
    worker = Worker(APP, env=settings(**DRAINS), server=server, arguments=arguments)  # type: ignore[arg-type]
    with worker:
        async with open_sse(worker.port, "/chat?id=s", method="POST", headers=USER) as stream:
            await stream.read_events(3)
            for _ in range(2):
                await get_plain(worker.port)
            await ends_whole(stream)
        await is_gone(worker)


@pytest.mark.parametrize("workers", ["0", "1", "2"], ids=["in one process", "in a child", "in one of two"])
async def test_hypercorn_drains_on_sigterm(workers: str) -> None:
    arguments = ("--workers", workers, "--graceful-timeout", "30")
    with Worker(APP, env=settings(**DRAINS), server="hypercorn", arguments=arguments) as worker:
        async with open_sse(worker.port, "/chat?id=s", method="POST", headers=USER) as stream:
            await stream.read_events(3)
            worker.terminate()
            await ends_whole(stream)
        await is_gone(worker)


@pytest.mark.parametrize("arguments", [(), ("--task-impl", "rust"), ("--workers", "2")], ids=" ".join)
async def test_granian_drains_on_sigterm(arguments: tuple[str, ...]) -> None:
    """With its own kind of task too, which has no name."""
    with Worker(APP, env=settings(**DRAINS), server="granian", arguments=arguments) as worker:
        async with open_sse(worker.port, "/chat?id=s", method="POST", headers=USER) as stream:
            await stream.read_events(3)
            if "--workers" in arguments:  # Granian says that one has started before that one hears a signal
                await both_answer(worker.port)
            worker.terminate()
            await ends_whole(stream)
        await is_gone(worker)


async def test_a_worker_that_granian_replaces_drains() -> None:
    with Worker(APP, env=settings(**DRAINS), server="granian") as worker:
        async with open_sse(worker.port, "/chat?id=s", method="POST", headers=USER) as stream:
            await stream.read_events(3)
            worker._running().send_signal(signal.SIGHUP)
            await ends_whole(stream)
        await get_plain(worker.port)


@pytest.mark.parametrize(
    ("server", "arguments", "warning"),
    [
        ("uvicorn", ("--timeout-graceful-shutdown", "2"), "uvicorn breaks connections 2 s"),
        ("hypercorn", ("--workers", "0"), "Hypercorn breaks connections 3 s"),
        ("hypercorn", ("--workers", "1", "--graceful-timeout", "4"), "Hypercorn breaks connections 4 s"),
        ("granian", ("--workers-kill-timeout", "5"), "Granian breaks connections 5 s"),
    ],
)
async def test_a_server_that_does_not_wait_for_the_drain_is_told_of(
    server: Server, arguments: tuple[str, ...], warning: str
) -> None:
    with Worker(APP, env=settings(), server=server, arguments=arguments) as worker:
        await wait_until_async(lambda: "misuse=impatient_server" in worker.log(), description="the guard warns")
        assert warning in worker.log()


async def test_a_worker_of_hypercorn_s_that_is_killed_alone_ends() -> None:
    """Hypercorn ends with it: SIGTERM to a worker is no way to stop it, so it must stay what it is without a guard."""
    with Worker(APP, env=settings(**DRAINS), server="hypercorn", arguments=("--workers", "2")) as worker:
        await get_plain(worker.port)
        children = psutil.Process(worker.pid).children()
        for child in children:
            child.terminate()
        await is_gone(worker)
        psutil.wait_procs(children, timeout=SOON_SECONDS)
        assert not any(child.is_running() for child in children)


async def test_hypercorn_that_breaks_connections_off_first_gives_none_a_clean_end() -> None:
    arguments = ("--workers", "0", "--graceful-timeout", "1")
    with Worker(APP, env=settings(drain_seconds=4.0), server="hypercorn", arguments=arguments) as worker:
        async with open_sse(worker.port, "/chat?id=s", method="POST", headers=USER) as stream:
            await stream.read_events(3)
            worker.terminate()
            async with asyncio.timeout(SOON_SECONDS):
                rest = await stream.read_rest()
            ended = any(event.data == "[DONE]" for event in rest)
            assert stream.ending is (Ending.CLEAN if ended else Ending.CUT)
        await is_gone(worker)


async def test_ctrl_c_does_not_wait_for_a_stream() -> None:
    with Worker(APP, env=settings(**PATIENT)) as worker:
        async with open_sse(worker.port, "/chat?id=s", method="POST", headers=USER) as stream:
            await stream.read_events(3)
            worker._running().send_signal(signal.SIGINT)
            await ends_whole(stream)
        await is_gone(worker)


async def test_ctrl_c_hurries_a_drain_on() -> None:
    with Worker(APP, env=settings(**PATIENT)) as worker:
        async with open_sse(worker.port, "/chat?id=s", method="POST", headers=USER) as stream:
            await stream.read_events(3)
            worker.terminate()
            await stream.read_events(3)  # it goes on
            worker._running().send_signal(signal.SIGINT)
            await stream.read_rest()
        await is_gone(worker)


async def test_a_reload_does_not_wait_for_a_stream(tmp_path: Path) -> None:
    watched = tmp_path / "changing.py"
    watched.write_text("")
    arguments = ("--reload", "--reload-dir", str(tmp_path))
    with Worker(APP, env=settings(**PATIENT), arguments=arguments) as worker:
        async with open_sse(worker.port, "/chat?id=s", method="POST", headers=USER) as stream:
            await stream.read_events(3)
            watched.write_text("changed = True\n")
            await ends_whole(stream)


async def test_sigterm_in_production_does_wait() -> None:
    with Worker(APP, env=settings(drain_seconds=3.0, development_drain_seconds=0.1)) as worker:
        async with open_sse(worker.port, "/chat?id=s", method="POST", headers=USER) as stream:
            await stream.read_events(3)
            began = asyncio.get_running_loop().time()
            worker.terminate()
            await ends_whole(stream)
            assert asyncio.get_running_loop().time() - began > 2.0
        await is_gone(worker)


def test_leaving_a_test_client_does_not_wait_for_a_stream() -> None:
    """The default of 20 seconds would be more than this allows."""
    with TestClient(endless.app) as client:
        with client.stream("POST", "/chat?id=s", headers=USER) as answer:
            assert next(answer.iter_text())
        assert len(endless.guard._running().streams) == 1
        began = time.monotonic()
    assert time.monotonic() - began < 15
