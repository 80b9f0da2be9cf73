"""What is stored when the connection, the server or the answer is lost. Acceptance: one row, and success in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from streamguard.errors import MessageStoreError, MessageTimeoutError, MessageUnavailableError
from streamguard.messages import Appended
from streamguard.messages.sql import SQLMessageStore
from streamguard.testing._message_store.steps import asked, everything, fresh_key, insistently, opened, put, texts

from ...harness.database import DatabaseServer
from ...harness.mariadb import MariaDBServer
from ...harness.postgres import PostgresServer
from ...harness.proxy import FaultProxy
from .places import PATIENT_SECONDS, Place, fresh_tables

pytestmark = [pytest.mark.anyio, pytest.mark.processes]

_SOON_SECONDS = 0.5
"""A timeout that is waited for."""


def commits(request: bytes) -> bool:
    """Whether a request ends a transaction; those that begin one name the isolation level."""
    return b"COMMIT" in request.replace(b"COMMITTED", b"")


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    found = request.getfixturevalue("postgres_server" if request.param == "postgresql" else "mariadb_server")
    assert isinstance(found, DatabaseServer)
    return found


@pytest.fixture
def proxy(server: DatabaseServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def place(server: DatabaseServer, proxy: FaultProxy) -> AsyncIterator[Place]:
    """Its stores lead through the proxy, its own engine does not."""
    async with Place(server.url(), fresh_tables()) as place:
        yield place
        proxy.forward()


@pytest.fixture
async def patient(server: DatabaseServer, proxy: FaultProxy, place: Place) -> SQLMessageStore:
    """Waits longer for its database than a test on a busy machine takes."""
    return await place.store(server.url(proxy.port), timeout_seconds=PATIENT_SECONDS)


@pytest.fixture
async def hasty(server: DatabaseServer, proxy: FaultProxy, place: Place) -> SQLMessageStore:
    """Waits `_SOON_SECONDS`."""
    return await place.store(server.url(proxy.port), timeout_seconds=_SOON_SECONDS)


async def test_a_commit_whose_reply_is_lost_is_a_duplicate_when_repeated(
    patient: SQLMessageStore, proxy: FaultProxy, place: Place
) -> None:
    key = await opened(patient)
    await put(patient, key, asked("before"))
    message = asked("once")
    proxy.lose_reply(commits)
    with pytest.raises(MessageStoreError) as caught:
        await patient.append(key, message)
    assert (proxy.replies_lost, caught.value.retryable, caught.value.operation) == (1, True, "append")
    assert texts(await everything(place.main_store, key)) == ["before", "once"]
    assert await patient.append(key, message) is Appended.DUPLICATE
    assert texts(await everything(patient, key)) == ["before", "once"]


async def test_a_commit_whose_reply_never_comes_is_a_duplicate_when_repeated(
    hasty: SQLMessageStore, proxy: FaultProxy, place: Place
) -> None:
    key = await opened(place.main_store)
    assert await hasty.start() == []
    message = asked("once")
    proxy.lose_reply(commits, cut=False)
    with anyio.fail_after(_SOON_SECONDS + 4), pytest.raises(MessageTimeoutError):
        await hasty.append(key, message)
    assert proxy.replies_lost == 1
    assert await insistently(hasty.append, key, message) is Appended.DUPLICATE
    assert texts(await everything(hasty, key)) == ["once"]


async def test_a_commit_that_never_arrives_is_made_when_repeated(
    patient: SQLMessageStore, proxy: FaultProxy, place: Place
) -> None:
    key = await opened(patient)
    await put(patient, key, asked("before"))
    message = asked("once")
    proxy.lose_request(commits)
    with pytest.raises(MessageUnavailableError):
        await patient.append(key, message)
    assert texts(await everything(place.main_store, key)) == ["before"]
    assert await patient.append(key, message) is Appended.CREATED


async def test_a_session_whose_opening_was_not_confirmed_is_there(
    server: DatabaseServer, proxy: FaultProxy, place: Place
) -> None:
    # With a time to live, every opening is a write.
    store = await place.store(server.url(proxy.port), ttl_seconds=600)
    await opened(store)
    key = fresh_key()
    proxy.lose_reply(commits)
    with pytest.raises(MessageUnavailableError):
        await store.open_session(key)
    assert proxy.replies_lost == 1
    assert not (await store.open_session(key)).created


async def test_a_server_that_stops_answering_costs_a_call_its_timeout(
    hasty: SQLMessageStore, proxy: FaultProxy, place: Place
) -> None:
    key = await opened(place.main_store)
    assert await hasty.start() == []
    proxy.hang()
    # Two more seconds may pass until the connection is given up.
    with anyio.fail_after(_SOON_SECONDS + 4), pytest.raises(MessageTimeoutError, match=r"append: no answer .* 0\.5 s"):
        await hasty.append(key, asked("one"))
    (warning,) = await hasty.start()
    assert "start: no answer" in warning
    proxy.forward()
    assert await insistently(hasty.append, key, asked("two")) is Appended.CREATED


async def test_a_call_can_be_cancelled_while_the_server_hangs(patient: SQLMessageStore, proxy: FaultProxy) -> None:
    key = await opened(patient)
    proxy.hang()
    with anyio.fail_after(10), anyio.move_on_after(0.2) as scope:
        await patient.append(key, asked("one"))
    assert scope.cancelled_caught
    proxy.forward()
    assert await insistently(patient.append, key, asked("two")) is Appended.CREATED


async def test_a_store_is_closed_while_the_server_hangs(
    server: DatabaseServer, proxy: FaultProxy, place: Place
) -> None:
    store = await place.store(server.url(proxy.port), timeout_seconds=_SOON_SECONDS)
    key = await opened(place.main_store)
    # Several connections stay in the pool, each of which has to be given up.
    await asyncio.gather(*(insistently(store.append, key, asked(str(number))) for number in range(4)))
    proxy.hang()
    with anyio.fail_after(_SOON_SECONDS + 4):
        await store.aclose()
    proxy.forward()
    assert len(await everything(place.main_store, key)) == 4
    # A closed store that is used again connects anew.
    assert await insistently(store.append, key, asked("again")) is Appended.CREATED


async def test_nobody_at_the_address_is_a_warning_and_a_retryable_error(
    patient: SQLMessageStore, proxy: FaultProxy, place: Place
) -> None:
    key = await opened(place.main_store)
    proxy.refuse()
    (warning,) = await patient.start()
    assert warning.startswith("start: the database")
    assert str(proxy.port) not in warning
    with pytest.raises(MessageUnavailableError) as caught:
        await patient.append(key, asked("one"))
    assert caught.value.retryable


@pytest.mark.parametrize("kind", [PostgresServer, MariaDBServer])
async def test_what_is_confirmed_survives_a_killed_server(kind: type[PostgresServer | MariaDBServer]) -> None:
    server = await anyio.to_thread.run_sync(kind)
    try:
        await anyio.to_thread.run_sync(server.start)
        async with Place(server.url(), fresh_tables()) as place:
            store, message = place.main_store, asked("confirmed")
            key = await opened(store)
            await put(store, key, message)
            await anyio.to_thread.run_sync(server.kill)
            with pytest.raises(MessageUnavailableError):
                await store.append(key, message)
            await anyio.to_thread.run_sync(server.start)
            # The pool notices that its connections are of another time.
            assert await store.append(key, message) is Appended.DUPLICATE
            assert texts(await everything(store, key)) == ["confirmed"]
            await place.engine.dispose()
    finally:
        await anyio.to_thread.run_sync(server.close)
