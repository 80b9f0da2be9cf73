"""What a Redis that refuses, or that cannot be reached, makes of a call: a reason out of a closed list, and a text that
says what to do."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ResponseError

from streamguard.errors import MessageUnavailableError, QuotaUnavailableError, StoreUnavailableError
from streamguard.messages import RedisMessageStore
from streamguard.quota import Quota, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.errors import mapped_errors
from streamguard.stores.redis.refusals import EXPLAINED, reason_of_reply, refused_text
from streamguard.testing._stream_store.steps import begin
from streamguard.unavailable import UnavailableReason, reason_of, reason_of_connection
from streamguard.values import SessionKey, StreamRef

from ...harness.ports import free_port
from ...harness.proxy import FaultProxy
from ...harness.redis import RedisServer
from ...harness.redis_kinds import TlsRedisServer
from ...harness.waiting import wait_until

pytestmark = pytest.mark.anyio

REF = StreamRef(SessionKey("ann", "conversation"), "a" * 24)
NewServer = Callable[..., RedisServer]


def administer(server: RedisServer, *words: str | int) -> None:
    server.command(*words)


async def refusal(url: str, *, seconds: float = 5.0) -> StoreUnavailableError:
    """What the beginning of a stream there fails with."""
    store = RedisStore(url, command_seconds=seconds)
    try:
        with pytest.raises(StoreUnavailableError) as caught:
            await begin(store)
    finally:
        await store.aclose()
    return caught.value


def check(error: StoreUnavailableError, reason: UnavailableReason, *words: str) -> None:
    """It says why, in one word and in a text with what to do."""
    assert error.reason is reason
    for word in (*words, EXPLAINED[reason].advice):
        assert word in str(error)


# -- what Redis answers ------------------------------------------------------------------------------------------------


async def test_a_full_redis(own_redis: NewServer) -> None:
    server = own_redis(config={"maxmemory": "1", "maxmemory-policy": "noeviction"})
    store = RedisStore(server.url)
    with pytest.raises(StoreUnavailableError) as caught:
        await store.ping()
    await store.aclose()
    check(caught.value, UnavailableReason.OUT_OF_MEMORY, "(OOM)", "it is out of memory", "maxmemory")


async def test_the_other_stores_say_it_too(own_redis: NewServer) -> None:
    server = own_redis(config={"maxmemory": "1", "maxmemory-policy": "noeviction"})
    async with RedisClient(server.url) as client:
        with pytest.raises(MessageUnavailableError, match="out of memory") as unsaved:
            await RedisMessageStore(client, ttl_seconds=60.0).open_session(REF.key)
        with pytest.raises(QuotaUnavailableError, match="out of memory") as unreserved:
            await RedisQuotaStore(client).reserve(REF, {"requests": 1}, [Quota(9, "day", "requests")])
    assert unsaved.value.reason is unreserved.value.reason is UnavailableReason.OUT_OF_MEMORY


async def test_a_replica(own_redis: NewServer) -> None:
    server = own_redis()
    administer(server, "REPLICAOF", "127.0.0.1", free_port())
    check(await refusal(server.url), UnavailableReason.READ_ONLY, "(READONLY)", "name the primary")
    administer(server, "CONFIG", "SET", "replica-serve-stale-data", "no")
    check(await refusal(server.url), UnavailableReason.MASTER_DOWN, "(MASTERDOWN)")
    administer(server, "REPLICAOF", "NO", "ONE")


async def test_a_master_without_its_replicas(own_redis: NewServer) -> None:
    server = own_redis(config={"min-replicas-to-write": "1"})
    check(await refusal(server.url), UnavailableReason.TOO_FEW_REPLICAS, "(NOREPLICAS)", "min-replicas-to-write")


async def test_a_redis_that_cannot_save(own_redis: NewServer) -> None:
    server = own_redis(config={"save": "3600 1"})
    shutil.rmtree(server.directory)
    administer(server, "SET", "one", 1, "EX", 60)
    administer(server, "BGSAVE")
    wait_until(
        lambda: b"rdb_last_bgsave_status:err" in bytes(str(server.command("INFO", "persistence")), "utf-8"),
        description="the snapshot has failed",
    )
    check(await refusal(server.url), UnavailableReason.CANNOT_PERSIST, "(MISCONF)", "disk")


async def test_a_redis_that_a_script_keeps_busy(own_redis: NewServer) -> None:
    server = own_redis(config={"lua-time-limit": "1"})
    with socket.create_connection(("127.0.0.1", server.port)) as other:
        other.sendall(b"EVAL 'while true do end' 0\r\n")
        wait_until(lambda: _says(server, "BUSY"), description="the script runs for too long")
        check(await refusal(server.url), UnavailableReason.BUSY, "(BUSY)", "SCRIPT KILL")
        administer(server, "SCRIPT", "KILL")
        assert other.recv(1) == b"-", "it has ended"


def _says(server: RedisServer, code: str) -> bool:
    try:
        server.command("GET", "one")
    except ResponseError as exc:
        return str(exc).startswith(code)
    return False


async def test_a_redis_that_wants_other_credentials(own_redis: NewServer) -> None:
    server = own_redis()
    administer(server, "ACL", "SETUSER", "ann", "on", ">secret", "~*", "&*", "+@all")
    error = await refusal(f"redis://ann:hunter2@127.0.0.1:{server.port}")
    check(error, UnavailableReason.WRONG_PASSWORD, "(WRONGPASS)", "the user name or the password is wrong")
    assert "hunter2" not in str(error)
    administer(server, "ACL", "SETUSER", "default", "off")
    check(await refusal(server.url), UnavailableReason.PASSWORD_NEEDED, "or one is needed")
    store = RedisStore(server.url)
    (warning,) = await store.start()
    assert EXPLAINED[UnavailableReason.PASSWORD_NEEDED].advice in warning
    with pytest.raises(StoreUnavailableError) as caught:
        await store.ping()
    check(caught.value, UnavailableReason.PASSWORD_NEEDED, "(NOAUTH)", "or one is needed")
    await store.aclose()


async def test_an_account_that_may_not(own_redis: NewServer) -> None:
    server = own_redis()
    administer(server, "ACL", "SETUSER", "ann", "on", ">secret", "~*", "&*", "+@all", "-evalsha", "-watch", "-multi")
    check(
        await refusal(f"redis://ann:secret@127.0.0.1:{server.port}"),
        UnavailableReason.FORBIDDEN,
        "(NOPERM)",
        "this account may not run EVALSHA",
    )


async def test_a_database_that_is_not_there(redis_server: RedisServer) -> None:
    check(await refusal(f"redis://127.0.0.1:{redis_server.port}/9999"), UnavailableReason.NO_DATABASE, "`databases`")


async def test_a_redis_with_too_many_connections(own_redis: NewServer) -> None:
    """It says so as soon as it is connected to, and hangs up."""
    server = own_redis(config={"maxclients": "1"})  # which `server` itself has
    for database in (0, 1):  # at the first of them a connection sends nothing of its own
        error = await refusal(server.database_url(database))
        check(error, UnavailableReason.TOO_MANY_CONNECTIONS, "maxclients")


# -- where there is no connection --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["one address", "several"])
async def test_an_address_at_which_nothing_listens(host: str) -> None:
    error = await refusal(f"redis://{host}:{free_port()}")
    check(error, UnavailableReason.CONNECTION_REFUSED, "nothing listens at its address")


async def test_a_socket_that_is_not_there() -> None:
    check(await refusal("unix:///nowhere/redis.sock"), UnavailableReason.CONNECTION_REFUSED)


async def test_a_redis_that_does_not_answer(own_redis: NewServer) -> None:
    server = own_redis()
    server.pause()
    check(await refusal(server.url, seconds=0.1), UnavailableReason.TIMEOUT, "Redis did not answer in time")
    server.resume()


async def test_a_connection_that_is_cut(proxy: FaultProxy, redis_database: int) -> None:
    proxy.lose_reply(b"evalsha", cut=True)
    proxy.lose_reply(b"EVALSHA", cut=True)
    check(await refusal(proxy.redis_url(redis_database)), UnavailableReason.CONNECTION_LOST, "the connection was cut")


async def test_a_certificate_that_nobody_trusts(redis_tls: TlsRedisServer) -> None:
    error = await refusal(f"rediss://127.0.0.1:{redis_tls.tls_port}")
    check(error, UnavailableReason.TLS_FAILED, "(SSLCertVerificationError)", "certificate")


@asynccontextmanager
async def web_server() -> AsyncIterator[int]:
    """The port of a server that speaks HTTP."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_what_answers_is_no_redis() -> None:
    async with web_server() as port:
        check(await refusal(f"redis://127.0.0.1:{port}"), UnavailableReason.WRONG_SERVER, "no Redis")


# -- all that there is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("LOADING Redis is loading the dataset in memory", UnavailableReason.STARTING),
        ("CLUSTERDOWN The cluster is down", UnavailableReason.CLUSTER_DOWN),
        ("MOVED 3999 127.0.0.1:6381", UnavailableReason.SLOT_MOVED),
        ("ASK 3999 127.0.0.1:6381", UnavailableReason.SLOT_MOVED),
        ("TRYAGAIN Multiple keys request during rehashing of slot", UnavailableReason.TRY_AGAIN),
        ("UNKILLABLE Sorry the script already executed write commands", UnavailableReason.BUSY),
        ("DENIED Redis is running in protected mode", UnavailableReason.PROTECTED_MODE),
        ("ERR unknown command 'EVALSHA', with args beginning with:", UnavailableReason.COMMAND_UNKNOWN),
        ("ERR max number of clients + cluster connections reached", UnavailableReason.TOO_MANY_CONNECTIONS),
        ("ERR Protocol error: unauthenticated bulk length", UnavailableReason.PASSWORD_NEEDED),
        ("ERR invalid password", UnavailableReason.WRONG_PASSWORD),
        ("ERR This instance has cluster support disabled", UnavailableReason.NO_CLUSTER),
        ("EXECABORT Transaction discarded because of previous errors.", UnavailableReason.OTHER),
        (
            "ERR Error running script (call to f_0): @user_script:9: @user_script: 9: -OOM command not allowed",
            UnavailableReason.OUT_OF_MEMORY,
        ),
        (
            "ERR Error running script (call to f_0): @user_script:1: -ERR The user executing it can't run this command",
            UnavailableReason.FORBIDDEN,
        ),
        ("hunter2 is not our word", UnavailableReason.OTHER),
        ("HUNTER2", UnavailableReason.OTHER),
        ("", UnavailableReason.OTHER),
    ],
)
async def test_an_error_reply_is_told_in_our_own_words(text: str, reason: UnavailableReason) -> None:
    reply = ResponseError(text)
    assert reason_of_reply(reply) is reason
    with pytest.raises(StoreUnavailableError) as caught, mapped_errors("connect"):
        raise reply
    check(caught.value, reason)
    assert "hunter2" not in str(caught.value).lower()


async def test_nothing_of_a_reply_is_told() -> None:
    """A server's text may hold keys, a host's error reply anything."""
    words = {"secret", "SECRET", "s3cret"}
    for first in ("ERR", "NOPERM", "MOVED", "OOM", "SECRET", "secret"):
        said = refused_text(ResponseError(f"{first} the key 'secret' of SECRET s3cret may not"))
        assert not words & set(re.findall(r"\w+", said))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), UnavailableReason.HOST_UNKNOWN),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), UnavailableReason.TLS_FAILED),
        (BrokenPipeError(32, "Broken pipe"), UnavailableReason.CONNECTION_LOST),
        (OSError(24, "Too many open files"), UnavailableReason.TOO_MANY_FILES),
        (OSError(113, "No route to host"), UnavailableReason.UNREACHABLE),
        (OSError(110, "Connection timed out"), UnavailableReason.TIMEOUT),
        (OSError("whatever"), UnavailableReason.UNREACHABLE),
        (ValueError("whatever"), UnavailableReason.OTHER),
    ],
)
async def test_the_kind_of_an_error_says_why_there_is_no_connection(
    error: Exception, reason: UnavailableReason
) -> None:
    assert reason_of_connection(error) is reason


async def test_every_reason_is_explained_or_of_databases_alone() -> None:
    of_databases = {"disk_full", "shutting_down", "locked", "deadlock", "pool_full", "tables_missing"}
    assert set(UnavailableReason) - EXPLAINED.keys() == of_databases | {"paused"}


async def test_the_first_cause_that_says_why_counts() -> None:
    inner = StoreUnavailableError("inner", operation="append", reason=UnavailableReason.BUSY)
    outer = StoreUnavailableError("outer", operation="append")
    outer.__cause__ = inner
    assert reason_of(outer) is UnavailableReason.BUSY
    inner.__cause__ = outer
    inner.reason = UnavailableReason.OTHER
    assert reason_of(outer) is UnavailableReason.OTHER, "a ring of causes ends"
    assert reason_of(None) is UnavailableReason.OTHER
