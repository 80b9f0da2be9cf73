"""Which commands are used, and what is said of an account that may not run one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

import streamguard
from streamguard.errors import StoreForbiddenError, StoreUnavailableError
from streamguard.stores.redis import RedisStore, permissions
from streamguard.stores.redis.permissions import DIRECT, OPTIONAL, SCRIPTED

from ...harness.redis import RedisServer
from ...harness.sources import python_files

pytestmark = [pytest.mark.anyio, pytest.mark.processes]  # a server with accounts of its own

ROOT: Final = Path(__file__).parents[3]
SOURCE: Final = Path(streamguard.__file__).parent
OPERATORS: Final = {"CONFIG GET", "SCAN", "HSCAN"}
"""What runs these does without."""
NEEDED: Final = {name for name, *_ in SCRIPTED} | set(DIRECT)


def administer(server: RedisServer, *words: str) -> None:
    server.client().execute_command(*words)  # type: ignore[no-untyped-call] # redis-py


def documented_rule() -> list[str]:
    (rule,) = [
        line
        for line in (ROOT / "docs" / "reference" / "redis.md").read_text().splitlines()
        if line.startswith("ACL SETUSER")
    ]
    return rule.replace("<password>", "secret").split()


# -- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_is_the_documented_one() -> None:
    documented = {word[1:].upper().replace("|", " ") for word in documented_rule() if word.startswith("+")}
    assert documented == NEEDED | set(OPTIONAL)


def in_scripts() -> set[str]:
    used: set[str] = set()
    for room in ("stores", "messages", "quota"):
        for file in [
            *(SOURCE / room / "redis" / "lua").glob("*.lua"),
            *(SOURCE / room / "redis" / "lua" / "include").glob("*.lua"),
        ]:
            text = "\n".join(line for line in file.read_text().splitlines() if not line.lstrip().startswith("--"))
            calls = len(re.findall(r"\b(?:redis\.p?call|call)\(", text))
            named = re.findall(r"\b(?:redis\.p?call|call)\('([A-Z]+)'", text)
            if file.name != "permissions.lua":  # which is told what to call
                assert calls == len(named), f"{file.name} calls what this test cannot read"
            used |= set(named)
    return used


def sent_directly() -> set[str]:
    sent = {"EVALSHA"}
    for file in python_files(SOURCE):
        for name, second in re.findall(r"Command\.of\(\s*\"([A-Z]+)\"(?:, \"([A-Z]+)\")?", file.read_text()):
            sent.add(f"{name} {second}" if name in ("SCRIPT", "CONFIG", "CLUSTER") else name)
        sent.update(re.findall(r"Command\.on\([^\"\n]*?, \"([A-Z]+)\"", file.read_text()))
    return sent


def test_the_list_has_every_command_that_is_used_and_no_other() -> None:
    scripted, sent = in_scripts(), sent_directly() - OPERATORS
    assert {"XADD", "PUBLISH", "TIME"} <= scripted
    assert {"SUBSCRIBE", "UNSUBSCRIBE", "PING", "SCRIPT LOAD", "INFO"} <= sent
    assert (scripted | sent) - set(OPTIONAL) == NEEDED


# -- accounts ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> RedisServer:
    server = RedisServer()
    server.start()
    return server


@pytest.fixture(autouse=True, scope="module")
def _closed(server: RedisServer) -> object:
    yield
    server.close()


async def lacking(server: RedisServer, *rule: str) -> tuple[str, ...]:
    """What a store says that this account lacks, when it is asked first, and when it is asked again."""
    administer(server, "ACL", "SETUSER", "streamguard", "reset")
    administer(server, *rule)
    store = RedisStore(f"redis://streamguard:secret@127.0.0.1:{server.port}", command_seconds=5)
    try:
        await store.start()
        for _ in range(2):
            with pytest.raises(StoreForbiddenError) as refused:
                await store.ping()
            assert all(name in str(refused.value) for name in refused.value.lacks)
        return refused.value.lacks
    finally:
        await store.aclose()


@pytest.mark.parametrize("missing", sorted(NEEDED))
async def test_every_command_that_is_missing_is_named(server: RedisServer, missing: str) -> None:
    word = f"+{missing.lower().replace(' ', '|')}"
    assert word in documented_rule()
    assert await lacking(server, *(one for one in documented_rule() if one != word)) == (missing,)
    assert server.keys_without_ttl() == []


@pytest.mark.parametrize("category", ["stream", "pubsub", "scripting", "sortedset", "hash", "string", "read"])
async def test_all_that_a_category_takes_away_is_named(server: RedisServer, category: str) -> None:
    denied = {
        name.decode().replace("|", " ").upper()
        for name in server.client().execute_command("ACL", "CAT", category)  # type: ignore[no-untyped-call] # redis-py
    }
    found = set(await lacking(server, *documented_rule(), f"-@{category}"))
    assert found == denied & NEEDED
    assert found


async def test_an_account_that_may_write_nothing_makes_no_key(server: RedisServer) -> None:
    """What would make one is not tried then, and named once the rest is granted."""
    denied = {name.decode().upper() for name in server.client().execute_command("ACL", "CAT", "write")}  # type: ignore[no-untyped-call] # redis-py
    found = set(await lacking(server, *documented_rule(), "-@write"))
    assert found == denied & NEEDED - {"HSET", "HINCRBY"}
    assert server.keys_without_ttl() == []


@pytest.mark.parametrize(("allowed", "lacks"), [(("~elsewhere:*", "&*"), "keys"), (("~*", "&elsewhere:*"), "channels")])
async def test_an_account_for_another_namespace(server: RedisServer, allowed: tuple[str, ...], lacks: str) -> None:
    found = await lacking(
        server, "ACL", "SETUSER", "streamguard", "on", ">secret", "resetkeys", "resetchannels", *allowed, "+@all"
    )
    assert found == (lacks,)


async def test_what_is_granted_later_is_enough(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    administer(server, *(word for word in documented_rule() if word != "+xadd"))
    store = RedisStore(f"redis://streamguard:secret@127.0.0.1:{server.port}", command_seconds=5)
    try:
        with pytest.raises(StoreForbiddenError):
            await store.ping()
        administer(server, "ACL", "SETUSER", "streamguard", "+xadd")
        await store.ping()
        assert server.client().keys("*:commands*") == []
        administer(server, "ACL", "SETUSER", "streamguard", "-subscribe")

        async def now_and_then() -> None:
            for _ in range(2 * 15):
                await store.ping()

        with pytest.raises(StoreForbiddenError, match="SUBSCRIBE"):
            await now_and_then()
    finally:
        await store.aclose()


@pytest.mark.parametrize(
    ("said", "lacks"),
    [
        (
            "ERR The user executing the script can't run this command or subcommand script: x, on @user_script:12",
            "ZADD",
        ),
        ("ERR The user executing the script can't access at least one of the keys mentioned in the command", "keys"),
        ("ERR The user executing the script can't publish to the channel mentioned in the command", "channels"),
        ("ERR Unknown Redis command called from script", "ZADD"),
        ("NOPERM User ann has no permissions to run the 'zadd' command", "ZADD"),
    ],
)
def test_older_servers_say_it_in_words(said: str, lacks: str) -> None:
    assert permissions._lacking("ping", [("ZADD", said)]) == [lacks]


def test_what_is_of_the_wrong_type_was_allowed_and_anything_else_is_no_answer() -> None:
    wrong = "WRONGTYPE Operation against a key holding the wrong kind of value"
    assert permissions._lacking("ping", [("ZADD", wrong), ("PTTL", 5)]) == []
    for said in ("OOM command not allowed when used memory > 'maxmemory'.", "MISCONF Redis is configured to save"):
        with pytest.raises(StoreUnavailableError, match=said.split()[0]):
            permissions._lacking("ping", [("SET", said)])
