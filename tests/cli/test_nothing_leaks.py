"""What the commands print, over a Redis with a password that is full of conversations: neither those nor the password,
in text and in JSON, when they work and when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import pytest

from streamguard import Signal
from streamguard.quota import Quota, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.stores.redis import RedisStore
from tests.harness.redis import RedisServer
from tests.telemetry.faults import CANARIES, Stage
from tests.telemetry.faults.of_ends import database_error

from .running import ran

pytestmark = [pytest.mark.anyio, pytest.mark.long]

PASSWORD: Final = f"{CANARIES.password}%2F%40%C3%BC"
"""With characters that a URL has encoded."""


@pytest.fixture
def place(own_redis: Callable[..., RedisServer]) -> str:
    """The URL of a Redis that wants a password."""
    server = own_redis()
    client = server.client()
    words = ("ACL", "SETUSER", "app", "on", f">{CANARIES.password}/@ü", "~*", "&*", "+@all")
    client.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py
    client.close()
    return f"redis://app:{PASSWORD}@127.0.0.1:{server.port}/0"


async def filled(url: str) -> str:
    """A stream that ended, whose save was given up, and one that runs. Returns the first one's id."""
    stage = Stage(CANARIES, ())

    async def save(_: object) -> None:
        raise database_error(CANARIES)

    async with RedisClient(url) as client:
        quotas = RedisQuotaStore(client)
        app = stage.application(
            store=RedisStore(url, command_seconds=5),
            messages=save,
            max_outbox_attempts=1,
            quota=Quota(10, "day", "requests"),
            quotas=quotas,
            append_deadline_seconds=5.0,
            registration_seconds=5.0,
        )
        async with app.running() as chat:
            ended = await stage.ask(app, chat, whole=True, idempotency_key=CANARIES.key)
            await stage.told.of(Signal.SAVE_BURIED)
    assert ended.stream_id is not None
    return ended.stream_id


async def test_no_command_prints_what_was_said_or_the_password(place: str) -> None:
    stream_id = await filled(place)
    owner = ("--owner", CANARIES.owner)
    commands = [
        ["ps", place],
        ["show", place, "conversation", *owner],
        ["show", place, "nothing", *owner],
        ["stop", place, "conversation", *owner],
        ["doctor", place],
        ["outbox", "list", place],
        ["outbox", "show", place, stream_id],
        ["quota", "show", place, *owner],
        ["outbox", "replay", place, stream_id],
        ["outbox", "discard", place, stream_id, "--yes"],
        ["show", f"{place}9999", "conversation", *owner],
        ["ps", place.replace(CANARIES.password, f"{CANARIES.password}x")],
        ["ps", f"{place}/not/a/number"],
    ]
    for words in commands:
        for more in ([], ["--json"]):
            done = await asyncio.to_thread(ran, *words, *more)
            assert (done.code == 2) == words[1].endswith("not/a/number"), done
            assert set(CANARIES.found_in(done.out + done.err)) <= {"owner"}, words
