"""A guard that is not running, or not here."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.routing import Host, Mount
from starlette.testclient import TestClient

from streamguard import Settings, StreamGuard
from streamguard.observations import Observation, Signal
from streamguard.web.misuse import Misuse
from tests.harness.waiting import wait_until_async

from ..serving import USER, make_guard, serving, user_of
from .sites import asked, row, said, said_when, site

__all__: list[str] = []


@row(Misuse.NOT_STARTED)
async def an_application_without_the_lifespan() -> str:
    return await said_when(asked(site(make_guard(), lifespan=None)))


@row(Misuse.NOT_STARTED)
async def one_of_the_routes() -> str:
    return await said_when(asked(site(make_guard(), lifespan=None), "/api/chat/s/stop"))


@row(Misuse.NOT_STARTED_MOUNTED)
async def a_mounted_application() -> str:
    return await said_when(asked(Starlette(routes=[Mount("/v1", site(make_guard()))]), "/v1/api/chat"))


@row(Misuse.NOT_STARTED_MOUNTED)
async def a_mounted_applications_routes() -> str:
    return await said_when(asked(Starlette(routes=[Mount("/v1", site(make_guard()))]), "/v1/api/chat/s/stop"))


@row(Misuse.NOT_STARTED_MOUNTED)
async def an_application_of_a_host() -> str:
    return await said_when(asked(Starlette(routes=[Host("x", site(make_guard()))])))


@row(Misuse.NOT_STARTED_MOUNTED)
async def the_routes_alone_mounted() -> str:
    return await said_when(asked(Starlette(routes=[Mount("/api/chat", make_guard().app)]), "/api/chat/s/stop"))


@row(Misuse.NOT_STARTED_TEST_CLIENT)
def a_test_client_without_with() -> str:
    client = TestClient(site(make_guard()), headers=USER)
    return said(lambda: client.post("/api/chat", json={"id": "s"}))


@row(Misuse.NOT_STARTED_ASGI_TRANSPORT)
async def an_asgi_transport() -> str:
    return await said_when(asked(site(make_guard()), client=("127.0.0.1", 123)))


@row(Misuse.LOOP_CLOSED)
def a_loop_that_is_closed() -> str:
    guard = make_guard(drain_seconds=0.2)
    app = site(guard)
    asyncio.run(guard.__aenter__())
    with asyncio.Runner() as runner:
        return runner.run(said_when(asked(app)))


@row(Misuse.OTHER_LOOP)
def two_loops_at_once() -> str:
    guard = make_guard(drain_seconds=0.2)
    app = site(guard)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(guard.__aenter__())
        text = other.run(said_when(asked(app)))
        one.run(guard.__aexit__(None, None, None))
    return text


@row(Misuse.LEFT_ELSEWHERE)
def an_end_in_another_loop() -> str:
    guard = make_guard(drain_seconds=0.2)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(guard.__aenter__())
        text = other.run(said_when(guard.__aexit__(None, None, None)))
        one.run(guard.__aexit__(None, None, None))
    return text


@row(Misuse.STARTED_TWICE)
async def a_second_start() -> str:
    guard = make_guard(drain_seconds=0.2)
    async with guard:
        return await said_when(guard.__aenter__())


@row(Misuse.IMPATIENT_SERVER)
async def a_server_that_breaks_connections_before_the_drain_is_over() -> str:
    seen: list[Observation] = []
    guard = StreamGuard(authenticate=user_of, observers=[seen.append], settings=Settings(drain_seconds=20))
    async with serving(site(guard), graceful_seconds=3):
        await wait_until_async(lambda: seen, description="it is warned of")
    (warning,) = [one for one in seen if one.name is Signal.MISUSE]
    assert warning.fields["misuse"] == "impatient_server"
    return str(warning.fields["warning"])
