"""`streamguard ps` on terminals of any kind, on stores of any size, and while a store is away."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest
from rich.cells import cell_len
from rich.console import Console

from streamguard.cli.overview import Overview, Overviews
from streamguard.cli.seen import Seen
from streamguard.cli.watching import picture
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.testing._stream_store.steps import begin

from ..harness.packages import install
from ..harness.redis import RedisServer
from ..harness.waiting import wait_until
from .running import ROOT, ran

pytestmark = [pytest.mark.anyio, pytest.mark.processes]

_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")
LIST_ONLY: Final = dedent(
    """
    from streamguard.stores import StreamLog
    from streamguard.stores.redis import RedisStore
    from streamguard.stores.roles.inspection import Inspection


    class Attic(StreamLog, Inspection):
        server = "the attic"

        def __init__(self, url, settings):
            self._streams = RedisStore("redis" + url.removeprefix("attic"), namespace=settings.namespace)

        def __getattr__(self, name):
            return getattr(self._streams, name)

        session = meta = check_position = read = subscribe = None
        peek_due = outbox_page = outbox_entry = None

        async def active_streams(self, *, limit):
            return await self._streams.active_streams(limit=limit)

        async def aclose(self):
            await self._streams.aclose()
    """
)


class Terminal:
    """A command on a terminal of its own, of a size."""

    def __init__(self, *arguments: str, columns: int = 120, lines: int = 30, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamguard.cli", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **env},
        )
        os.close(theirs)
        self.shown = ""

    def until(self, text: str, *, seconds: float = 30.0) -> str:
        """What it shows from now on, up to a text."""
        deadline, began = time.monotonic() + seconds, len(self.shown)
        while text not in self.shown[began:]:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"not within {seconds} s: {text!r}; it shows {self.shown[-2000:]!r}"
            self.shown += os.read(self._ours, 65_536).decode("utf-8", "replace")
        return self.shown[began:]

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Tell it to end, and give its status. What it still shows is read."""
        self.process.send_signal(number)

        def ended() -> bool:
            while select.select([self._ours], [], [], 0)[0]:
                try:
                    self.shown += os.read(self._ours, 65_536).decode("utf-8", "replace")
                except OSError:  # nobody has the terminal any more
                    break
            return self.process.poll() is not None

        wait_until(ended, description="it ends")
        ended()
        return self.process.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@contextmanager
def terminal(*arguments: str, columns: int = 120, lines: int = 30, **env: str) -> Iterator[Terminal]:
    made = Terminal(*arguments, columns=columns, lines=lines, **env)
    try:
        yield made
    finally:
        made.close()


async def with_streams(server: RedisServer, number: int) -> None:
    store = RedisStore(server.url, command_seconds=5)
    await asyncio.gather(*(begin(store) for _ in range(number)))
    report = {"v": 1, "host": "h", "pid": 7, "version": "1", "up_seconds": 9, "interval_seconds": 5.0, "ready": True}
    await store.report_worker("w1", json.dumps(report).encode(), keep_seconds=60)
    await store.aclose()


# -- terminals --------------------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_small_terminal_shows_what_fits(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    await with_streams(server, 300)
    with terminal("ps", server.url, "--watch", "--interval", "0.1", columns=60, lines=20) as small:
        await asyncio.to_thread(small.until, "more")
        frame = _CONTROL.sub("", await asyncio.to_thread(small.until, "more"))
        assert small.end() == 0
    assert "200 active streams" in frame
    assert "; there are mo" in frame
    assert "streams  300 active" in frame
    assert all(cell_len(line) <= 60 for line in frame.split("\n"))
    assert re.search(r"and \d+ streams more", frame)


@pytest.mark.parametrize(("width", "height"), [(40, 12), (60, 20), (80, 24), (200, 60)])
def test_no_screen_is_larger_than_its_terminal(width: int, height: int) -> None:
    worker = {"worker": "0123456789", "state": "ready", "heard_seconds": 1.0, "host": "a-host-with-a-name.example"}
    depths = dict.fromkeys(
        ("active_streams", "expired_leases", "outbox", "dead_letters", "stale_reservations", "damaged_indexes"), 5_000
    )
    totals = {"events_per_second": 1.0, "ends": {}, "resumes": {f"refused:reason_{n}": 9 for n in range(20)}}
    overview = Overview([worker] * 500, totals, {**depths, "outbox_oldest_seconds": 3.0})
    row = ("5" * 24, "h" * 16, "session-" * 8, "3m05s", "1200", "4.5/s", "3.2s", "17", "open, log lost", "asked")
    seen = Seen({"store": "redis://h:6379"}, [row] * 5_000, True, overview, {"open": 5_000})
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    console.print(
        picture(seen, "below is what was seen 3s ago; connect: Redis could not be used", width=width, height=height)
    )
    lines = _CONTROL.sub("", out.getvalue()).splitlines()
    assert len(lines) <= max(height, 18)
    assert max(map(cell_len, lines)) <= width
    assert lines[0].startswith("below is what was seen 3s ago")
    if width > 40:
        assert any("5" * 24 in line and "open, log lost" in line for line in lines), (
            "a stream and its state are one line"
        )


async def test_a_terminal_without_colours_or_places_gets_lines(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    await with_streams(server, 1)
    with terminal("ps", server.url, "--watch", "--interval", "0.1", TERM="dumb") as dumb:
        for _ in range(2):  # one table after the other
            await asyncio.to_thread(dumb.until, "1 active stream at")
        assert dumb.end() == 0
    assert "\x1b" not in dumb.shown
    with terminal("ps", server.url, "--watch", "--interval", "0.1", "--timeout", "0.5", NO_COLOR="1") as plain:
        await asyncio.to_thread(plain.until, "1 active stream at")
        server.stop()
        await asyncio.to_thread(plain.until, "could not be used")
        assert plain.end(signal.SIGTERM) == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain.shown)


# -- a store that is away ---------------------------------------------------------------------------------------------


async def test_an_outage_is_told_of_and_over_when_it_is(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    await with_streams(server, 1)
    with terminal("ps", server.url, "--watch", "--interval", "0.1", "--timeout", "0.5") as watching:
        await asyncio.to_thread(watching.until, "1 active stream at")
        server.pause()
        told = await asyncio.to_thread(watching.until, "below is what was seen")
        assert "1 active stream at" in told + await asyncio.to_thread(watching.until, "1 active stream at")
        server.resume()

        def well() -> bool:
            watching.until("1 active stream at")
            return "below" not in watching.until("1 active stream at")

        await asyncio.to_thread(wait_until, well, description="it is well again")
        assert watching.end() == 0
    assert "\x1b[?25h" in watching.shown[-40:], "the cursor is back"
    assert watching.shown.count("\x1b[?1049h") == watching.shown.count("\x1b[?1049l") == 1


async def test_ctrl_c_waits_for_no_answer(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    await with_streams(server, 1)
    with terminal("ps", server.url, "--watch", "--interval", "0.1", "--timeout", "60") as watching:
        await asyncio.to_thread(watching.until, "1 active stream at")
        server.pause()
        await asyncio.to_thread(wait_until, lambda: _hangs(watching), description="a look hangs")
        assert watching.end() == 0
        server.resume()
    assert "Traceback" not in watching.shown


def _hangs(watching: Terminal) -> bool:
    """Whether it has shown nothing for longer than its interval."""
    before = len(watching.shown)
    while select.select([watching._ours], [], [], 0.5)[0]:
        watching.shown += os.read(watching._ours, 65_536).decode("utf-8", "replace")
    return len(watching.shown) == before


# -- what a look costs, and what it says ------------------------------------------------------------------------------


async def test_a_look_asks_the_same_of_a_redis_however_much_there_is(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    asked = []
    for number in (10, 1_500):
        await with_streams(server, number)
        client = server.client()
        client.config_resetstat()
        assert len(ran("ps", server.url, "--json", "--limit", "5").json["streams"]) == 5
        stats: dict[str, Any] = client.info("commandstats")
        asked.append(Counter({name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}))
    for name in ("keys", "scan", "hscan", "sscan", "zscan", "hgetall", "smembers"):
        assert not asked[1][name]
    few, many = (sum(commands.values()) for commands in asked)
    assert many <= few + 20, asked


async def test_a_worker_is_late_and_then_gone() -> None:
    now = 100.0
    store = MemoryStore(clock=lambda: now)
    overviews = Overviews(store)

    async def report(**fields: object) -> None:
        said = {"v": 1, "ready": True, "interval_seconds": 5.0, **fields}
        await store.report_worker("w", json.dumps(said).encode(), keep_seconds=600)

    async def look() -> tuple[object, object]:
        workers = (await overviews.look()).workers
        assert workers is not None
        return workers[0]["state"], workers[0]["events_per_second"]

    await report(up_seconds=10.0, events=100)
    assert await look() == ("ready", 10.0)
    now += 5
    await report(up_seconds=15.0, events=120)
    assert await look() == ("ready", 4.0)
    now += 2
    assert await look() == ("ready", 4.0), "before its next report the last rate stands"
    now += 6.1
    assert await look() == ("late", 4.0)
    now += 7
    assert await look() == ("gone", 0.0)


def test_a_store_that_only_lists_says_what_it_cannot_tell(
    tmp_path: Path, own_redis: Callable[..., RedisServer]
) -> None:
    server = own_redis()
    asyncio.run(with_streams(server, 2))
    install(tmp_path, "attic", {"attic": "attic:Attic"}, LIST_ONLY)
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    url = server.url.replace("redis://", "attic://", 1)
    done = ran("ps", url, env=env)
    assert done.code == 0, done
    assert done.rows[0] == "workers, rates and what waits are unknown: this store has no role WorkerReports"
    assert done.rows[-1] == "2 active streams at the attic"
    shape = ran("ps", url, "--json", env=env).json
    assert (shape["workers"], shape["depths"], len(shape["streams"])) == (None, None, 2)
