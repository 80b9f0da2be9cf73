"""What an operator does on the command line is recorded: who, what, to which stream, and how it went."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from streamguard.quota import Admitted, Quota, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.stores.redis import RedisStore
from streamguard.telemetry.safety import short_hash
from streamguard.testing._stream_store.steps import begin
from streamguard.values import SessionKey, StreamRef, new_stream_id

from ..e2e.conftest import environment
from .running import ran
from .test_outbox import dead

pytestmark = pytest.mark.anyio


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(path: Path) -> list[tuple[object, ...]]:
    """What was recorded, once it is by this user."""
    found = records(path)
    assert {(record["actor"], record["operator"]) for record in found} == {("operator", getpass.getuser())}
    names = ("action", "outcome", "stream_id", "reason")
    return [tuple(record.get(name) for name in names) for record in found]


async def test_a_stop_is_recorded_with_whose_stream_it_was(store: RedisStore, redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    ref = await begin(store)
    key = ref.key
    asked = ran("stop", redis_url, key.session_id, "--owner", key.owner, "--wait", "0", "--audit", str(path))
    assert asked.code == 1, asked
    (record,) = records(path)
    assert record.pop("at")
    assert record.pop("message_id")
    assert record == {
        "action": "stop",
        "actor": "operator",
        "operator": getpass.getuser(),
        "owner": short_hash(key.owner),
        "session_id": key.session_id,
        "stream_id": ref.stream_id,
        "outcome": "requested",
    }
    assert path.stat().st_mode & 0o777 == 0o600
    unknown = ran("stop", redis_url, "nothing", "--owner", "ann", env={"STREAMGUARD_AUDIT": str(path)})
    assert unknown.code == 4
    assert records(path)[1]["outcome"] == "failed"
    assert records(path)[1]["reason"] == "not_found"


async def test_dead_letters_that_are_replayed_or_discarded_are_recorded(
    store: RedisStore, redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    env = {"STREAMGUARD_AUDIT": str(path)}
    one, other = await dead(store), await dead(store)
    assert ran("outbox", "replay", redis_url, one.stream_id, env=env).code == 0
    assert ran("outbox", "discard", redis_url, other.stream_id, env=env, says="n\n").code == 1
    assert ran("outbox", "discard", redis_url, "--all", "--yes", env=env).code == 0
    assert told(path) == [
        ("requeue", "replayed", one.stream_id, "too_often"),
        ("discard", "failed", None, "declined"),
        ("discard", "discarded", other.stream_id, "too_often"),
    ]


async def test_a_reservation_that_is_released_is_recorded(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    ref = StreamRef(SessionKey("ann", "c1"), new_stream_id())
    async with RedisClient(redis_url, command_seconds=5) as client:
        quotas = RedisQuotaStore(client)
        assert isinstance(await quotas.reserve(ref, {"tokens": 1}, [Quota(1_000, "day")]), Admitted)
    command = ("quota", "release", redis_url, ref.stream_id, "--owner", "ann", "--yes", "--audit", str(path))
    assert ran(*command).code == 0
    assert told(path) == [("settle", "released", ref.stream_id, None)]


async def test_who_reconciles_is_recorded(redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    env = {**environment(redis_url), "COUNTING_REDIS": redis_url}
    command = ("reconcile", "--app", "tests.apps.counting:guard", "--audit", str(path))
    assert ran(*command, "--once", "--impatient", env=env).code == 0
    assert ran(*command, "--dry-run", env=env).code == 0
    assert told(path) == [("reconcile", "ok", None, None)]
    assert records(path)[0]["count"] == 0


async def test_nothing_is_done_that_cannot_be_recorded(store: RedisStore, redis_url: str, tmp_path: Path) -> None:
    one = await dead(store)
    path = str(tmp_path / "nowhere" / "audit.jsonl")
    done = ran("outbox", "replay", redis_url, one.stream_id, "--audit", path)
    assert done.code == 2
    assert "nothing was done" in done.err
    assert ran("outbox", "list", redis_url, "--dead", "--json").json["entries"][0]["stream_id"] == one.stream_id
