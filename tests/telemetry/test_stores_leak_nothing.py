"""A store whose URL has a password, and which cannot be reached: nobody is told the password."""

from __future__ import annotations

import socket
import subprocess
import sys
import traceback

import pytest

from streamguard import StreamGuardError
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.values import SessionKey

from .faults import CANARIES, Stage
from .faults.watched import watching

pytestmark = [pytest.mark.anyio, pytest.mark.processes]


def nowhere() -> str:
    """The URL of a Redis at a port where nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"redis://app:{CANARIES.password}@127.0.0.1:{one.getsockname()[1]}/0"


async def test_a_redis_that_is_away() -> None:
    store = RedisStore(nowhere())
    with watching(configured=False) as watched:
        stage = Stage(CANARIES, ())
        app = stage.application(store=store)
        async with app.running() as chat:
            await (await stage.ask(app, chat)).read(2)
            refused = stage.keep(await chat.resume("conversation"))
            assert refused.status == 503
            watched.note("refusals", refused.body)
            with pytest.raises(StreamGuardError) as raised:
                await store.session(SessionKey(CANARIES.owner, "conversation"))
            watched.note("exceptions", "".join(traceback.format_exception(raised.value)))
            watched.note("reprs", repr(store), str(store), repr(app.guard), str(app.guard))
    assert watched.leaks(CANARIES) == []


@pytest.mark.parametrize(
    "url",
    [
        f"redis://app:{CANARIES.password}@127.0.0.1:notaport/0",
        f"redis://app:{CANARIES.password}@127.0.0.1:6379/notanumber",
        f"nosuch://app:{CANARIES.password}@host/0",
        f"redis://app:{CANARIES.password}@[::1/0",
        f"redis://127.0.0.1/0?password={CANARIES.password}&no=such",
    ],
)
def test_a_url_that_is_wrong(url: str) -> None:
    with pytest.raises((StreamGuardError, ValueError)) as raised:
        RedisStore(url)
    assert CANARIES.found_in("".join(traceback.format_exception(raised.value)).replace(repr(url), "")) == []


@pytest.mark.long
@pytest.mark.parametrize("command", [["ps"], ["doctor"], ["outbox", "list"], ["quota", "show", "--owner", "ann"]])
def test_a_command(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamguard.cli", *command, nowhere()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode not in (0, 2), done.stderr
    assert CANARIES.found_in(done.stdout + done.stderr) == []


def test_reprs_name_no_owner_and_no_content() -> None:
    key = SessionKey(CANARIES.owner, "conversation")
    assert CANARIES.found_in(f"{key!r} {key} {MemoryStore()!r}") == []
