"""`streamguard doctor` on Redis servers that are well, and on ones that are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import redis

from streamguard.cli import trial
from streamguard.cli.checks import Finding, Verdict, check_clock, check_server
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.scripts import Scripts
from streamguard.stores.redis.server_facts import Clock, RedisInspector, ServerFacts
from streamguard.testing._stream_store.outbox import enqueued
from streamguard.testing._stream_store.steps import begin, fresh_key

from ..harness.redis import RedisServer
from .running import ROOT, Ran, administer, ran

pytestmark = pytest.mark.anyio

DURABLE = {"appendonly": "yes"}


def verdicts(done: Ran) -> dict[str, str]:
    return {check["check"]: check["verdict"] for check in done.json["checks"]}


def values(done: Ran, name: str) -> dict[str, Any]:
    (found,) = [check["values"] for check in done.json["checks"] if check["check"] == name]
    assert isinstance(found, dict)
    return found


def detail(done: Ran, name: str) -> str:
    (found,) = [check["detail"] for check in done.json["checks"] if check["check"] == name]
    assert isinstance(found, str)
    return found


async def test_a_good_server_has_no_problems(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(aof=True)
    done = ran("doctor", server.url, "--strict")
    assert done.code == 0, done.out
    assert done.rows[-1] == f"redis://127.0.0.1:{server.port}, namespace streamguard: 0 problems, 0 warnings"
    assert {row.split()[0] for row in done.rows[:-1]} == {"ok"}
    told = ran("doctor", server.url, "--json")
    assert (told.code, told.json["healthy"]) == (0, True)
    assert values(told, "persistence") == {"append_only": True, "fsync": "everysec", "snapshots": ""}
    assert values(told, "scripts")["scripts"] > 20


async def test_the_trial_stream_leaves_nothing(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    assert ran("doctor", server.url).code == 0
    left = {bytes(key) for key in server.client().scan_iter()}
    mark = {key for key in left if key.endswith((b"}:x", b":r"))}
    kept = {key for key in left if b"{probe}" in key or b"{r." in key}
    assert left == mark | kept, "marks of a second, the probe, and a claim of half a minute"
    for key in left:
        assert 0 < server.client().pttl(key) <= 30_000


@pytest.mark.parametrize(
    ("script", "line", "otherwise"),
    [
        ("append", "call('PUBLISH', meta_key .. ':d', table.concat(hint))", "watch: an append was not heard of"),
        ("request_stop", "tell_worker(meta_key, worker, epoch, 1)", "stop: the worker was not told"),
    ],
)
async def test_a_trial_finds_who_is_told_nothing(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, script: str, line: str, otherwise: str
) -> None:
    monkeypatch.setattr(trial, "HINT_SECONDS", 0.05)
    store = RedisStore(redis_url, command_seconds=5, scripts=Scripts.load().replacing(script, line, ""))
    await store.start()
    try:
        with pytest.raises(trial.TrialError, match=otherwise):
            await trial.live_and_die(store)
    finally:
        await store.aclose()


async def test_nothing_is_written_when_it_is_only_to_read(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    done = ran("doctor", server.url, "--read-only", "--json")
    assert done.code == 0
    assert [name for name, verdict in verdicts(done).items() if verdict == "skipped"] == [
        "writes",
        "permissions",
        "scripts",
        "trial",
    ]
    assert server.client().dbsize() == 0


async def test_what_a_server_may_lose_is_told(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(config={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru", "save": "60 1000"})
    done = ran("doctor", server.url, "--json")
    assert (done.code, done.json["healthy"]) == (1, False)
    assert verdicts(done)["eviction"] == "problem"
    assert "allkeys-lru" in detail(done, "eviction")
    assert (verdicts(done)["persistence"], values(done, "persistence")["snapshots"]) == ("warning", "60 1000")
    assert values(done, "memory")["limit_bytes"] == 100 * 2**20


async def test_warnings_fail_only_when_asked(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    assert ran("doctor", server.url).code == 0
    done = ran("doctor", server.url, "--strict")
    assert done.code == 1
    assert "a restart loses every stream" in done.out


async def test_keys_that_would_live_for_ever_are_found(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    client = server.client()
    for number in range(2_000):
        client.set(f"other:{number}", "x")
    for number in range(30):
        client.set(f"streamguard:{{x}}:{number}", "x", ex=60)
    client.set("streamguard:\x1b[31mleft", "x")
    client.set("streamguard2:x", "x")
    done = ran("doctor", server.url, "--json")
    assert done.code == 1
    assert verdicts(done)["ttls"] == "problem"
    found = values(done, "ttls")
    assert (found["immortal"], found["examples"], found["complete"]) == (1, ["streamguard:\x1b[31mleft"], True)
    assert found["keys"] >= 31
    shown = ran("doctor", server.url)
    assert "streamguard:\\x1b[31mleft" in shown.out
    client.flushdb()


async def test_a_sample_of_the_keys_may_do(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    for number in range(3_000):
        server.client().set(f"streamguard:{number}", "x", ex=60)
    done = ran("doctor", server.url, "--sample", "10", "--json")
    found = values(done, "ttls")
    assert not found["complete"]
    assert 10 <= found["keys"] < 2_000


async def test_a_search_for_keys_ends_in_a_database_of_others(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    for first in range(0, 110_000, 5_000):  # one script for all of them can take longer than a client waits
        server.client().eval("for n = 1, 5000 do redis.call('SET', 'o' .. n + ARGV[1], '', 'EX', 600) end", 0, first)
    survey = RedisInspector(server.url, command_seconds=10)
    found = await survey.sample(10)
    await survey.aclose()
    assert (found.keys, found.complete) == (0, False)


# -- accounts ---------------------------------------------------------------------------------------------------------


def documented_rule() -> list[str]:
    page = (ROOT / "docs" / "reference" / "redis.md").read_text()
    (rule,) = [line for line in page.splitlines() if line.startswith("ACL SETUSER")]
    return rule.replace("<password>", "secret").split()


async def test_the_documented_account_suffices(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(aof=True)
    administer(server, *documented_rule())
    done = ran("doctor", f"redis://streamguard:secret@127.0.0.1:{server.port}", "--json")
    assert done.code == 0, done.out
    assert {name for name, verdict in verdicts(done).items() if verdict != "ok"} == {"ttls", "records"}
    assert "may not run SCAN" in detail(done, "ttls")


@pytest.mark.parametrize(
    "missing", ["xadd", "zadd", "publish", "subscribe", "hdel", "script|load", "xrange", "get", "evalsha"]
)
async def test_what_an_account_lacks_is_named(own_redis: Callable[..., RedisServer], missing: str) -> None:
    """Whether the trial meets it or not."""
    server = own_redis()
    rule = [word for word in documented_rule() if word != f"+{missing}"]
    administer(server, *rule)
    done = ran("doctor", f"redis://streamguard:secret@127.0.0.1:{server.port}", "--json", "--timeout", "1")
    assert done.code == 1
    name = missing.upper().replace("|", " ")
    assert values(done, "permissions")["lacks"] == [name]
    assert detail(done, "permissions") == f"this account lacks: {name}"
    assert "problem" in (verdicts(done)["trial"], verdicts(done)["scripts"])


@pytest.mark.parametrize(
    ("allowed", "lacks"),
    [(("~elsewhere:*", "&*"), "keys"), (("~*", "&elsewhere:*"), "channels")],
)
async def test_an_account_for_another_namespace_is_told_so(
    own_redis: Callable[..., RedisServer], allowed: tuple[str, ...], lacks: str
) -> None:
    server = own_redis()
    administer(
        server, "ACL", "SETUSER", "streamguard", "on", ">secret", "resetkeys", "resetchannels", *allowed, "+@all"
    )
    done = ran("doctor", f"redis://streamguard:secret@127.0.0.1:{server.port}", "--json")
    assert done.code == 1
    assert values(done, "permissions")["lacks"] == [lacks]
    assert verdicts(done)["trial"] == "problem"


async def test_an_account_that_may_not_ask_leaves_it_open(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    administer(server, "ACL", "SETUSER", "quiet", "on", ">secret", "~*", "&*", "+@all", "-info", "-config")
    done = ran("doctor", f"redis://quiet:secret@127.0.0.1:{server.port}", "--json")
    assert done.code == 0
    skipped = [name for name, verdict in verdicts(done).items() if verdict == "skipped"]
    assert skipped == ["version", "kind", "eviction", "memory", "persistence"]


async def test_wrong_credentials_are_told_apart_from_silence(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    administer(server, "ACL", "SETUSER", "ann", "on", ">secret", "~*", "&*", "+@all")
    done = ran("doctor", f"redis://ann:hunter2@127.0.0.1:{server.port}")
    assert done.code == 3
    assert "the user name or the password is wrong" in done.out
    assert "hunter2" not in done.out + done.err
    assert values(ran("doctor", f"redis://ann:hunter2@127.0.0.1:{server.port}", "--json"), "connection") == {
        "reason": "wrong_password"
    }
    administer(server, "ACL", "SETUSER", "default", "off")
    done = ran("doctor", server.url)
    assert done.code == 3
    assert "or one is needed" in done.out


# -- servers that take nothing ----------------------------------------------------------------------------------------


async def test_a_replica_is_no_place_for_streams(own_redis: Callable[..., RedisServer]) -> None:
    primary = own_redis()
    replica = own_redis(config={"replicaof": f"127.0.0.1 {primary.port}"})
    done = ran("doctor", replica.url, "--json")
    assert done.code == 1
    assert (verdicts(done)["kind"], verdicts(done)["writes"], verdicts(done)["trial"]) == ("problem",) * 3
    assert "READONLY" in detail(done, "writes")


async def test_a_full_server_is_told_of(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(config={"maxmemory": "3mb"})
    client = server.client()
    with suppress(redis.exceptions.OutOfMemoryError):
        for number in range(1_000):
            client.set(f"streamguard:{number}", "x" * 10_000, ex=60)
    done = ran("doctor", server.url, "--json")
    assert done.code == 1
    assert (verdicts(done)["memory"], verdicts(done)["writes"]) == ("warning", "problem")
    assert "OOM" in detail(done, "writes")


async def test_a_server_that_hangs_is_unreachable(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    server.pause()
    done = ran("doctor", server.url, "--timeout", "0.3", "--json")
    server.resume()
    assert (done.code, done.json["healthy"]) == (3, False)
    assert verdicts(done) == {"connection": "problem"}


# -- what nobody works on ---------------------------------------------------------------------------------------------


async def test_streams_that_nobody_ends_are_told_of(
    store: RedisStore, redis_url: str, redis_server: RedisServer, redis_database: int
) -> None:
    live, dead = await begin(store), await begin(store, fresh_key())
    client = redis_server.client(redis_database)
    keys = Keys("streamguard")
    client.hincrby(keys.stream(dead).meta, "d", -3_600_000)
    done = ran("doctor", redis_url, "--json")
    assert verdicts(done)["streams"] == "warning"
    assert values(done, "streams") == {"active": 2, "abandoned": 1}
    assert await store.meta(live) is not None


async def test_dead_letters_and_overdue_saves_are_told_of(store: RedisStore, redis_url: str) -> None:
    await enqueued(store, due=-1_000.0)
    done = ran("doctor", redis_url, "--json")
    assert (verdicts(done)["outbox"], values(done, "outbox")) == ("warning", {"dead": 0, "owed": 1, "overdue": 1})
    await store.dead_letter(await enqueued(store), reason="r", ttl_seconds=60)
    done = ran("doctor", redis_url, "--json")
    assert (verdicts(done)["outbox"], values(done, "outbox")) == ("warning", {"dead": 1, "owed": 1, "overdue": 1})
    assert "1 dead letter:" in detail(done, "outbox")


# -- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "verdict", "says"),
    [
        (0.0002, Verdict.OK, "agrees"),
        (-0.4, Verdict.OK, "0.400 s behind"),
        (1.5, Verdict.WARNING, "1.500 s ahead"),
        (-3600, Verdict.WARNING, "3600.000 s behind"),
    ],
)
def test_clocks_are_compared(ahead: float, verdict: Verdict, says: str) -> None:
    _, clock = check_clock(Clock(ahead, 0.001))
    assert clock.verdict is verdict
    assert says in clock.detail


GOOD = ServerFacts("7.2.4", "standalone", "master", "noeviction", 10, 0, True, "always", "", False)


def changed(**facts: object) -> dict[str, Finding]:
    fields = {name: getattr(GOOD, name) for name in GOOD.__slots__}
    return {found.check: found for found in check_server(ServerFacts(**{**fields, **facts}))}


def test_a_good_servers_facts_are_fine() -> None:
    assert {found.verdict for found in changed().values()} == {Verdict.OK}


@pytest.mark.parametrize(
    ("facts", "check", "verdict"),
    [
        ({"version": "6.0.16"}, "version", Verdict.PROBLEM),
        ({"version": "6.2.0"}, "version", Verdict.OK),
        ({"version": "10.0"}, "version", Verdict.OK),
        ({"mode": "cluster"}, "kind", Verdict.PROBLEM),
        ({"role": "slave"}, "kind", Verdict.PROBLEM),
        ({"eviction": "volatile-ttl"}, "eviction", Verdict.PROBLEM),
        ({"used_bytes": 95, "limit_bytes": 100}, "memory", Verdict.WARNING),
        ({"used_bytes": 85, "limit_bytes": 100}, "memory", Verdict.OK),
        ({"writing_failed": True}, "persistence", Verdict.PROBLEM),
        ({"append_only": False, "snapshots": None}, "persistence", Verdict.WARNING),
        ({"append_only": False, "snapshots": "900 1"}, "persistence", Verdict.WARNING),
        ({"append_only": True, "fsync": None}, "persistence", Verdict.OK),
    ],
)
def test_facts_become_verdicts(facts: dict[str, object], check: str, verdict: Verdict) -> None:
    assert changed(**facts)[check].verdict is verdict


def test_the_report_is_the_same_object_however_it_ends() -> None:
    done = ran("doctor", "redis://127.0.0.1:1", "--json")
    assert set(done.json) == {"store", "namespace", "healthy", "checks"}
    assert [set(check) for check in json.loads(done.out)["checks"]] == [{"check", "verdict", "detail", "values"}]


# -- records ----------------------------------------------------------------------------------------------------------


async def test_records_that_cannot_be_read_are_named(own_redis: Callable[..., RedisServer]) -> None:
    """Which, whose, why, and what to do; and nothing is changed."""
    server = own_redis()
    client = server.client()
    store = RedisStore(server.url)
    await store.start()
    damaged = [await begin(store) for _ in range(3)]
    keys = Keys("streamguard")
    client.hset(keys.stream(damaged[0]).meta, "n", "many")
    client.set(keys.stream(damaged[1]).meta, "x", ex=60)
    client.hset(keys.stream(damaged[2]).meta, "v", "2")
    client.zadd(keys.lease_shard(damaged[0]), {"!": 1})
    before = {key: client.type(key) for key in client.scan_iter()}
    done = ran("doctor", server.url, "--read-only", "--json")
    assert done.code == 1
    assert verdicts(done)["records"] == "problem"
    found = {
        one["key"]: (one["record"], one["why"], one["session_id"]) for one in values(done, "records")["unreadable"]
    }
    named = [keys.stream(ref).meta.decode() for ref in damaged]
    assert found[named[0]] == ("stream", "damaged", damaged[0].key.session_id)
    assert found[named[1]] == ("stream", "wrong_type", damaged[1].key.session_id)
    assert found[named[2]] == ("stream", "newer_format", damaged[2].key.session_id)
    assert ("lease_index", "damaged", None) in found.values()
    shown = ran("doctor", server.url, "--read-only")
    assert "delete the session, or let it expire" in shown.out
    assert {key: client.type(key) for key in client.scan_iter()} == before
    await store.aclose()
