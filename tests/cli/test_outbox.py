"""`streamguard outbox`: what is owed is listed, shown, replayed and discarded."""

from __future__ import annotations

import re

import pytest

from streamguard.charging.outbox_payload import add_settlement
from streamguard.cli import entries
from streamguard.cli.entries import all_dead, listed
from streamguard.messages import Message, Role
from streamguard.saving.outbox_payload import write_payload
from streamguard.saving.revision import Revision
from streamguard.saving.supersession import Supersession
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.telemetry.safety import short_hash
from streamguard.testing._stream_store.outbox import enqueued
from streamguard.testing._stream_store.steps import (
    meta,
    unknown_ref,
)
from streamguard.values import Persisted, StreamRef

from .running import ran

pytestmark = pytest.mark.anyio

QUESTION = Message(
    message_id="q\x1b[31m", role=Role.USER, parts=({"type": "text", "text": "what nobody else may read"},)
)


async def dead(store: RedisStore) -> StreamRef:
    ref = await enqueued(store, payload=write_payload([QUESTION]))
    await store.retry_later(ref, due_seconds=0, reason="timeout", ttl_seconds=600)
    await store.dead_letter(ref, reason="too_often", ttl_seconds=600)
    return ref


async def test_dead_letters_are_listed_before_what_is_still_tried(store: RedisStore, redis_url: str) -> None:
    waiting, buried = await enqueued(store, due=3_600), [await dead(store) for _ in range(2)]
    done = ran("outbox", "list", redis_url)
    assert done.code == 1
    ids = [row.split()[0] for row in done.rows[1:-1]]
    assert sorted(ids[:2]) == sorted(ref.stream_id for ref in buried)
    assert ids[2:] == [waiting.stream_id]
    first = done.rows[1].split()
    assert (first[2], first[3], first[4], first[6]) == ("session", "dead", "2", "too_often")
    assert done.rows[-1] == "2 dead, 1 due or waiting"
    only = ran("outbox", "list", redis_url, "--due", "--json")
    assert only.code == 0
    (entry,) = only.json["entries"]
    assert (entry["stream_id"], entry["dead"], entry["attempts"], entry["reason"]) == (
        waiting.stream_id,
        False,
        0,
        None,
    )
    assert 3_000 < entry["due_seconds"] <= 3_600
    assert entry["owner_hash"] == short_hash(waiting.key.owner)
    assert "owner" not in entry
    only = ran("outbox", "list", redis_url, "--dead", "--json", "--owners")
    assert only.code == 1
    assert {entry["owner"] for entry in only.json["entries"]} == {ref.key.owner for ref in buried}
    assert {entry["due_seconds"] for entry in only.json["entries"]} == {None}


async def test_an_empty_outbox_is_fine(redis_url: str) -> None:
    done = ran("outbox", "list", redis_url)
    assert (done.code, done.out) == (0, "0 dead, 0 due or waiting\n")


async def test_a_listing_is_bounded_and_goes_on_where_it_ended(store: RedisStore, redis_url: str) -> None:
    buried = [(await dead(store)).stream_id for _ in range(2)]
    owed = [(await enqueued(store, due=60 + number)).stream_id for number in range(5)]
    found: list[str] = []
    more: list[str] = []
    for left in (5, 3, 1, 0):
        page = ran("outbox", "list", redis_url, "--limit", "2", *more, "--json").json
        found += [entry["stream_id"] for entry in page["entries"]]
        assert (page["left"], page["more"], page["next"] is None) == (left, left > 0, left == 0)
        more = ["--after", str(page["next"])]
    assert sorted(found[:2]) == sorted(buried)
    assert found[2:] == owed
    assert ran("outbox", "list", redis_url, "--limit", "2", "--after", "due", "--json").json["left"] == 3
    last = ran("outbox", "list", redis_url, "--limit", "3").rows[-1]
    said = re.fullmatch("2 dead, 1 due or waiting; 4 more: --after (due:[0-9.]+), or a higher --limit", last)
    assert said is not None
    assert ran("outbox", "list", redis_url, "--after", said[1]).rows[-1] == "0 dead, 4 due or waiting"
    assert ran("outbox", "list", redis_url, "--limit", "2", "--dead").rows[-1] == "2 dead, 0 due or waiting"


@pytest.mark.parametrize("place", ["due", "yesterday", "due:x", "dead:1", "1.1"])
async def test_a_listing_goes_on_only_where_one_ended(redis_url: str, place: str) -> None:
    done = ran("outbox", "list", redis_url, "--due", "--after", place)
    assert (done.code, done.out) == ((0, "0 dead, 0 due or waiting\n") if place == "due" else (2, ""))


async def test_an_entry_is_shown_without_what_was_said(store: RedisStore, redis_url: str) -> None:
    ref = await dead(store)
    done = ran("outbox", "show", redis_url, ref.stream_id)
    assert done.code == 0
    shown = dict(row.split(maxsplit=1) for row in done.rows)
    assert (shown["stream"], shown["kind"], shown["attempts"]) == (ref.stream_id, "a dead letter", "2")
    assert (shown["reason"], shown["saved"], shown["outcome"]) == ("too_often", "no", "completed")
    assert shown["before"] == "user message q\\x1b[31m"
    told = ran("outbox", "show", redis_url, ref.stream_id, "--json")
    assert told.json["messages"] == [{"id": QUESTION.message_id, "role": "user", "parts": 1}]
    assert told.json["stream"]["stream_id"] == told.json["entry"]["stream_id"] == ref.stream_id
    for one in (done, told):
        assert "nobody else" not in one.out
        assert "\x1b" not in one.out


async def test_a_payload_of_another_version_is_told_of(store: RedisStore, redis_url: str) -> None:
    ref = await enqueued(store, payload=b'{"v":99}', due=60)
    done = ran("outbox", "show", redis_url, ref.stream_id)
    assert "before    cannot be read by this version" in done.out
    assert "kind      due in " in done.out
    assert ran("outbox", "show", redis_url, ref.stream_id, "--json").json["messages"] is None
    ref = await enqueued(store, payload=write_payload([]), due=60)
    assert "before" not in ran("outbox", "show", redis_url, ref.stream_id).out


async def test_what_an_owed_save_replaces_is_told(store: RedisStore, redis_url: str) -> None:
    for start, says in (("q\x1b[31m", "q\\x1b[31m"), (None, "(the last answer)")):
        supersession = Supersession(Revision(start, None))
        ref = await enqueued(
            store,
            payload=write_payload([QUESTION], supersession=supersession, superseding_id=QUESTION.message_id),
            due=60,
        )
        done = ran("outbox", "show", redis_url, ref.stream_id)
        assert f"replaces  the history from message {says} on" in done.out
        told = ran("outbox", "show", redis_url, ref.stream_id, "--json").json
        assert told["supersedes"] == {"start": start, "with": QUESTION.message_id}
    ref = await enqueued(store, payload=write_payload([QUESTION]), due=60)
    assert ran("outbox", "show", redis_url, ref.stream_id, "--json").json["supersedes"] is None


async def test_what_owes_nothing_is_not_found(store: RedisStore, redis_url: str) -> None:
    await enqueued(store)
    missing = unknown_ref().stream_id
    for stream_id in (missing, "0" * 24, "f" * 24):
        done = ran("outbox", "show", redis_url, stream_id)
        assert (done.code, done.out) == (4, "")
        assert stream_id in done.err
    for command, word in (("replay", "replayed"), ("discard", "discarded")):
        done = ran("outbox", command, redis_url, missing, "--json")
        assert done.code == 4
        assert done.json == {word: [], "not_found": [missing]}


async def test_dead_letters_are_replayed(store: RedisStore, redis_url: str) -> None:
    one, other, third = [await dead(store) for _ in range(3)]
    missing = unknown_ref().stream_id
    done = ran("outbox", "replay", redis_url, one.stream_id, missing, one.stream_id)
    assert done.code == 4
    assert done.rows == [
        f"{one.stream_id} replayed",
        f"{missing} nothing is owed",
        "1 replayed, 1 not found",
    ]
    (owed,) = await store.claim_due(limit=10, claim_seconds=60)
    assert (owed.ref, owed.attempts, owed.dead) == (one, 0, False)
    done = ran("outbox", "replay", redis_url, "--all", "--json")
    assert done.code == 0
    assert done.json["not_found"] == []
    assert sorted(done.json["replayed"]) == sorted([other.stream_id, third.stream_id])
    assert await store.outbox_entries(dead=True, limit=10) == []
    assert {entry.ref for entry in await store.claim_due(limit=10, claim_seconds=60)} == {other, third}


async def test_a_save_that_is_replayed_is_pending_again(store: RedisStore, redis_url: str) -> None:
    """Not where none is owed: nobody would ever say what came of it."""
    payloads = write_payload([]), add_settlement(None, None), b'{"v":99}'
    saves, settles, unreadable = [await enqueued(store, payload=payload) for payload in payloads]
    for ref in (settles, unreadable):
        await store.update_meta(ref, persisted=Persisted.NO)
    for ref in (saves, settles, unreadable):
        await store.dead_letter(ref, reason="too_often", ttl_seconds=600)
        assert (await meta(store, ref)).persisted is Persisted.NO
    assert ran("outbox", "replay", redis_url, "--all").code == 0
    found = [(await meta(store, ref)).persisted for ref in (saves, settles, unreadable)]
    assert found == [Persisted.PENDING, Persisted.NO, Persisted.NO]


async def test_replaying_what_is_still_tried_changes_nothing(store: RedisStore, redis_url: str) -> None:
    ref = await enqueued(store, due=600)
    assert ran("outbox", "replay", redis_url, ref.stream_id).code == 0
    (owed,) = await store.outbox_entries(dead=False, limit=10)
    assert owed.due_seconds > 500


async def test_saves_are_discarded_once_that_is_confirmed(store: RedisStore, redis_url: str) -> None:
    buried, living = await dead(store), await enqueued(store, due=60)
    arguments = ("outbox", "discard", redis_url, buried.stream_id, living.stream_id)
    for says in ("n\n", "\n", ""):
        done = ran(*arguments, says=says)
        assert done.code == 1
        assert "Discard the saves of 2 streams?" in done.out
    assert ran(*arguments, "--json").code == 2
    assert (
        len(await store.outbox_entries(dead=True, limit=10))
        == len(await store.outbox_entries(dead=False, limit=10))
        == 1
    )
    done = ran(*arguments, says="y\n")
    assert done.code == 0
    assert done.rows[-1] == "2 discarded"
    for ref in (buried, living):
        record = await meta(store, ref)
        assert record.persisted is Persisted.NO
    assert await store.outbox_entries(dead=True, limit=10) == await store.outbox_entries(dead=False, limit=10) == []


async def test_every_dead_letter_is_discarded_when_asked(store: RedisStore, redis_url: str) -> None:
    buried, living = await dead(store), await enqueued(store, due=60)
    done = ran("outbox", "discard", redis_url, "--all", "--yes", "--keep", "1000", "--json")
    assert done.json == {"discarded": [buried.stream_id], "not_found": []}
    assert [entry.ref for entry in await store.outbox_entries(dead=False, limit=10)] == [living]
    assert ran("outbox", "discard", redis_url, "--all").rows == ["0 discarded"]


async def test_a_discarded_stream_is_kept_for_as_long_as_said(store: RedisStore, redis_url: str) -> None:
    ref = await dead(store)
    assert ran("outbox", "discard", redis_url, ref.stream_id, "--yes", "--keep", "0.001").code == 0
    assert await store.meta(ref) is None


# -- finding entries --------------------------------------------------------------------------------------------------


async def test_every_dead_letter_of_many_is_found_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    refs = [await enqueued(store) for _ in range(45)]
    for ref in refs[::3]:
        await store.dead_letter(ref, reason="r", ttl_seconds=60)
    monkeypatch.setattr(entries, "PAGE", 4)
    assert {entry.ref async for entry in all_dead(store)} == set(refs[::3])
    found = await listed(store, dead=None, after=None, limit=20)
    assert ([entry.dead for entry in found.entries], found.left) == ([True] * 15 + [False] * 5, 25)
    found = await listed(store, dead=None, after=None, limit=15)
    assert (found.next, found.left) == ("due", 30)
