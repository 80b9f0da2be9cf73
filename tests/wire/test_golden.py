"""Logs that are out there fold to what they always folded to, whichever way they are folded."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.steps import begin
from streamguard.values import EventKind
from streamguard.wire import UIMessage, protocol_named

from .golden import GOLDEN, GoldenLog, digest, fold_streams, load, recorded_hashes
from .logs import logged, read_back


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[StreamStore]:
    """Where logs are written and read back from."""
    if request.param == "memory":
        yield MemoryStore()
        return
    store = RedisStore(request.getfixturevalue("redis_url"), command_seconds=5)
    await store.start()
    yield store
    await store.aclose()


def test_every_log_has_its_hash() -> None:
    assert sorted(recorded_hashes()) == GOLDEN, "run: python -m tests.wire.golden"
    assert len(GOLDEN) > 20


@pytest.mark.parametrize("name", GOLDEN)
def test_it_folds_to_its_hash_live(name: str) -> None:
    """As parts come, somebody looking now and then."""
    log = load(name)
    message: UIMessage | None = None
    for stream in log.streams:
        folding = protocol_named(log.protocol).folding(log.message_id, message)
        for number, payload in enumerate(stream.payloads):
            folding.add(payload)
            if number % 3 == 0:
                folding.message()
        message = folding.message()
    assert message is not None
    assert digest(message) == recorded_hashes()[name], "if this is meant: python -m tests.wire.golden"


@pytest.mark.anyio
@pytest.mark.parametrize("name", GOLDEN)
async def test_it_folds_to_its_hash_from_a_store(name: str, store: StreamStore) -> None:
    log = load(name)
    read: list[Sequence[bytes]] = []
    for stream in log.streams:
        ref = await begin(store)
        await logged(store, ref, stream.events[: stream.last_seq], pieces=random.Random(1))
        events = await read_back(store, ref, stream.last_seq, max_bytes=[1, 50, 1 << 20])
        assert [(event.kind, event.data) for event in events] == list(stream.events[: stream.last_seq])
        read.append([*(event.data for event in events if event.kind is EventKind.DATA), *stream.held])
    assert digest(fold_streams(log, read)) == recorded_hashes()[name]


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("ui-message/")])
def test_it_folds_to_its_hash_in_pieces(name: str) -> None:
    """Cut anywhere but within a text, the first piece through storage."""
    log = load(name)
    payloads = [payload for stream in log.streams for payload in stream.payloads]
    cuts = [at for at in range(len(payloads) + 1) if not _within_a_text(log, payloads[:at])]
    assert len(cuts) > 1
    for at in cuts:
        assert digest(fold_streams(log, [payloads[:at], payloads[at:]])) == recorded_hashes()[name], f"cut at {at}"


def _within_a_text(log: GoldenLog, payloads: Sequence[bytes]) -> bool:
    last = [json.loads(payload) for payload in payloads if b'"text-' in payload or b'"reasoning-' in payload]
    return bool(last) and not last[-1]["type"].endswith("-end")
