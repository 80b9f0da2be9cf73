"""Visitors without a cookie are limited by the address they come from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from streamguard.web.access import rate_limit
from streamguard.web.access.addresses import address_of

from ..serving import USER, Gate, calling, make_guard
from .strangers import Body, Strangers, owner_cookie, why

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("203.0.113.7", 1), "203.0.113.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::ffff", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:3::ffff", 1), "2001:db8:1:3::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("::ffff:203.0.113.7", 1), "203.0.113.7"),
        (["203.0.113.7", 1], "203.0.113.7"),
        (("/run/app.sock", None), None),
        (("testclient", 5), None),
        (("", 0), None),
        (None, None),
    ],
)
def test_an_address_in_one_form(client: object, address: str | None) -> None:
    assert address_of({"type": "http", "client": client}) == address


async def test_visitors_of_one_address_open_so_many_a_minute() -> None:
    strangers = Strangers(max_opens_per_minute_per_address=3)
    async with strangers.running():
        cookie = await owner_cookie(strangers, "203.0.113.7")
        answers = [await strangers.ask("203.0.113.7"), await strangers.ask("203.0.113.7", cookie=cookie)]
        assert [answer.status_code for answer in answers] == [200, 200]
        for headers in ({}, {"cookie": cookie}):
            refused = await strangers.ask("203.0.113.7", **headers)
            assert why(refused) == (429, "limit_rate", "max_opens_per_minute_per_address")
            assert "set-cookie" not in refused.headers, "which would be a way to be many"
        assert (await strangers.ask("203.0.113.8")).status_code == 200
        assert strangers.warnings == []


async def test_visitors_of_one_subnet_are_one() -> None:
    strangers = Strangers(max_opens_per_minute_per_address=1)
    async with strangers.running():
        assert (await strangers.ask("2001:db8::1")).status_code == 200
        assert (await strangers.ask("2001:db8::ffff:2")).status_code == 429
        assert (await strangers.ask("2001:db8:0:1::1")).status_code == 200


async def test_other_requests_without_a_cookie_are_counted_apart() -> None:
    strangers = Strangers(max_opens_per_minute_per_address=2)
    async with strangers.running():
        cookie = await owner_cookie(strangers, "203.0.113.7")
        answers = [
            await strangers.ask("203.0.113.7", method, f"/api/chat/s{rest}")
            for method, rest in (("GET", "/stream"), ("DELETE", ""), ("GET", ""), ("POST", "/stop"))
        ]
        assert [answer.status_code for answer in answers] == [204, 204, 429, 429]
        assert (await strangers.ask("203.0.113.7", "GET", "/api/chat/s", cookie=cookie)).status_code == 200
        for method, path in (("DELETE", "/api/chat/s"), ("POST", "/api/chat/s/stop")):
            assert (await strangers.ask("203.0.113.7", method, path, cookie=cookie)).status_code == 429
        assert (await strangers.ask("203.0.113.7")).status_code == 200


async def test_a_host_may_say_that_addresses_mean_nothing() -> None:
    strangers = Strangers(max_opens_per_minute_per_address=1, max_streams_per_address=1, limit_addresses=False)
    async with strangers.running():
        assert [(await strangers.ask("203.0.113.7")).status_code for _ in range(4)] == [200] * 4


async def test_owners_with_a_name_are_not_limited_by_address() -> None:
    guard = make_guard(max_opens_per_minute_per_address=1)
    app = FastAPI()

    @app.post("/api/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "a"

    async with calling(app, guard) as client:
        answers = [await client.post("/api/chat", json={"id": "s"}, headers=USER) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3


async def test_the_operator_hears_once_that_it_may_be_the_proxys_address() -> None:
    strangers = Strangers(max_opens_per_minute_per_address=1)
    async with strangers.running():
        for _ in range(3):
            await strangers.ask("10.0.0.1", x_forwarded_for="203.0.113.7")
        (warning,) = strangers.warnings
        assert "limit_addresses" in warning


async def test_streams_of_visitors_without_a_cookie_are_counted_until_they_end() -> None:
    strangers = Strangers(max_streams_per_address=2)
    async with strangers.running():
        cookie = await owner_cookie(strangers, "203.0.113.7")
        strangers.gate = gate = Gate()
        running = [asyncio.create_task(strangers.ask("203.0.113.7")) for _ in range(2)]
        while strangers.guard._running().health().streams < 2:
            await asyncio.sleep(0)
        running[0].cancel()  # the client leaves; the stream goes on
        assert why(await strangers.ask("203.0.113.7")) == (429, "limit_streams", "max_streams_per_address")
        running += [asyncio.create_task(strangers.ask("203.0.113.7", cookie=cookie))]
        running += [asyncio.create_task(strangers.ask("203.0.113.8"))]
        while strangers.guard._running().health().streams < 4:
            await asyncio.sleep(0)
        gate.open()
        assert [(await task).status_code for task in running[1:]] == [200] * 3
        await strangers.guard.idle()
        assert (await strangers.ask("203.0.113.7")).status_code == 200


@pytest.mark.long
async def test_what_is_remembered_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_NAMES", 50)
    strangers = Strangers()
    async with strangers.running():
        for number in range(200):
            await strangers.ask(f"2001:db8:0:{number:x}::1", "GET", "/api/chat/s")
            await strangers.ask(f"2001:db8:0:{number:x}::1")
        limits = strangers.guard._context.limits
        assert len(limits._opens) == len(limits._calls) == 50
        assert limits.new_visitors.count == limits.viewers.count == 0
