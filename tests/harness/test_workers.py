"""Workers and the streaming client, tried on an application without streamguard."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from .sse import Ending, open_sse, ui_text
from .waiting import wait_until_async
from .workers import Worker

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker("tests.apps.bare:app", env={"BARE_NAME": "w"}) as worker:
        yield worker


async def test_a_whole_stream_ends_clean(worker: Worker) -> None:
    async with open_sse(worker.port, "/stream", method="POST", body=b"{}") as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        events = await response.read_rest()
        assert [event.id for event in events] == ["1", "2", "3"]
        assert ui_text(events) == "w1 w2 w3 "
        assert response.cursor == "3"
        assert response.ending is Ending.CLEAN


async def test_a_body_without_its_final_chunk_is_cut(worker: Worker) -> None:
    async with open_sse(worker.port, "/stream?broken=1") as response:
        assert len(await response.read_rest()) == 3
        assert response.ending is Ending.CUT


async def test_dropping_after_some_events_and_after_some_bytes(worker: Worker) -> None:
    async with open_sse(worker.port, "/stream?count=1000") as response:
        assert len(await response.read_events(2)) == 2
        await response.drop()
        assert response.ending is Ending.DROPPED
        assert response.cursor == "2"
    whole = b'id: 1\ndata: {"type":"text-delta","id":"0","delta":"w1 "}\n\n'
    for count in (1, len(whole) - 1, len(whole)):
        async with open_sse(worker.port, "/stream") as response:
            assert await response.read_bytes(count) == whole[:count]
            assert bytes(response.body) == whole[:count]
            assert response.cursor == ("1" if count == len(whole) else None)


async def test_a_silent_stream_times_out(worker: Worker) -> None:
    async with open_sse(worker.port, "/endless", timeout=2) as response:
        assert len(await response.read_events(1)) == 1
        assert response.reader.comments == ["here"]
        with pytest.raises(TimeoutError):
            await response.next_event()


async def test_what_a_worker_counts_returns_to_where_it_began(worker: Worker) -> None:
    before = worker.probe()
    async with open_sse(worker.port, "/endless") as response:
        await response.read_events(1)
        assert worker.probe()["tasks"] > before["tasks"]
    await wait_until_async(lambda: worker.probe()["tasks"] == before["tasks"], description="the stream's tasks ended")
    assert worker.open_files() > 0
    assert worker.rss_bytes() > 1_000_000
    assert worker.connections_to(worker.port) == 0


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
async def test_a_worker_freezes_thaws_ends_and_starts_again(server: str) -> None:
    with Worker("tests.apps.bare:app", server="hypercorn" if server == "hypercorn" else "uvicorn") as worker:
        worker.pause()
        with pytest.raises(TimeoutError):
            async with open_sse(worker.port, "/stream", timeout=0.2):
                pass
        worker.resume()
        async with open_sse(worker.port, "/stream") as response:
            await response.read_rest()
            assert response.ending is Ending.CLEAN
        worker.terminate()
        assert worker.wait_exit(10) in (0, -signal.SIGTERM)
        worker.start()
        worker.kill()
        assert not worker.alive


async def test_a_worker_that_cannot_start_says_why() -> None:
    with pytest.raises(AssertionError, match="no_such_app"), Worker("tests.apps.bare:no_such_app"):
        pass
