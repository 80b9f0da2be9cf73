"""The pages about authentication: each way to sign in lets in whom it names, and nobody else reads what they asked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import ModuleType
from typing import Final

import jwt
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from streamguard import ConfigurationError, StreamGuard
from streamguard.testing import GuardedApp
from streamguard.web.headers import EXPOSED

from .samples import blocks, run_page

pytestmark = pytest.mark.anyio

PAGE: Final = "docs/how-to/authentication.md"
JWT_PAGE: Final = "docs/how-to/jwt.md"
ORIGIN: Final = "https://app.example.com"
Names = Mapping[str, object]


class Body(BaseModel):
    id: str


@pytest.fixture
def sections() -> Iterator[dict[str, dict[str, object]]]:
    """What the page's samples made, by section."""
    found: dict[str, dict[str, object]] = {}
    with run_page(PAGE, redis_url="memory://", sections=found):
        yield found


def function(names: Names, name: str) -> Callable[..., object]:
    one = names[name]
    assert callable(one)
    return one


def with_a_chat(app: FastAPI, guard: StreamGuard) -> FastAPI:
    """A chat in an application that has none."""

    @app.post("/api/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "Hello"

    guard.install(app, "/api/chat")
    return app


def asked_by(authenticate: Callable[..., object]) -> tuple[ASGIApp, StreamGuard]:
    guard = StreamGuard("memory://", authenticate=authenticate)  # type: ignore[arg-type]  # checked by the guard itself
    return with_a_chat(FastAPI(lifespan=guard.lifespan), guard), guard


def app_of(names: Names) -> tuple[FastAPI, StreamGuard]:
    app, guard = names["app"], names["guard"]
    assert isinstance(app, FastAPI)
    assert isinstance(guard, StreamGuard)
    return app, guard


@pytest.mark.parametrize(
    ("section", "name", "headers"),
    [
        ("Authentication: sessions, JWT, API keys, cookies, CORS", "owner", {"X-User": "ann"}),
        ("API keys", "owner_of_key", {"X-API-Key": "key-of-acme"}),
        ("A proxy that has authenticated", "owner_of_proxy", {"X-Forwarded-User": "ann"}),
    ],
)
async def test_a_header_names_the_owner(
    sections: dict[str, dict[str, object]], section: str, name: str, headers: dict[str, str]
) -> None:
    app, guard = asked_by(function(sections[section], name))
    async with GuardedApp(app, guard, headers=headers) as somebody:
        assert (await (await somebody.post({"id": "c1"})).rest())[-1].data == "[DONE]"
        assert (await somebody.resume("c1")).status == 200
        nobody = somebody.visitor()
        for answer in (await nobody.post({"id": "c1"}), await nobody.resume("c1"), await nobody.stop("c1")):
            assert answer.status == 401
        wrong = somebody.visitor({name: f"not {value}" for name, value in headers.items()})
        assert (await wrong.resume("c1")).status in (204, 401)


async def test_a_session_names_the_owner(sections: dict[str, dict[str, object]]) -> None:
    app, guard = app_of(sections["Sessions"])
    async with GuardedApp(with_a_chat(app, guard), guard) as ann:
        assert (await ann.post({"id": "c1"})).status == 401
        (cookie,) = (await ann.post({}, path="/login")).set_cookies
        assert "httponly; samesite=lax; secure" in cookie
        assert (await (await ann.post({"id": "c1"})).rest())[-1].data == "[DONE]"
        assert (await ann.resume("c1")).status == 200
        assert (await ann.visitor().resume("c1")).status == 401


async def test_visitors_are_owners_beside_users(sections: dict[str, dict[str, object]]) -> None:
    app, guard = asked_by(function(sections["Users and visitors"], "user_or_visitor"))
    async with GuardedApp(app, guard) as visitor:
        answer = await visitor.post({"id": "c1"})
        await answer.rest()
        (cookie,) = answer.set_cookies
        assert cookie.startswith("streamguard_owner=")
        assert (await visitor.resume("c1")).status == 200
        assert (await visitor.visitor({"X-User": "ann"}).resume("c1")).status == 204
        assert not (await visitor.visitor({"X-User": "ann"}).post({"id": "c2"})).set_cookies


async def test_dependencies_refuse_more(sections: dict[str, dict[str, object]]) -> None:
    app, guard = app_of(sections["FastAPI's `Depends`"])
    async with GuardedApp(app, guard, headers={"X-User": "ann"}) as ann:
        answer = await ann.post({"id": "c1"})
        await answer.rest()
        assert answer.text == "Hello user-ann, whom the guard calls user-ann"
        assert (await ann.resume("c1")).status == 200
        assert (await ann.resume("secret-1")).status == 403
        assert (await ann.visitor().post({"id": "c1"})).status == 401


def test_authenticate_is_no_dependency(sections: dict[str, dict[str, object]]) -> None:
    owner = function(sections["API keys"], "owner_of_key")
    with pytest.raises(ConfigurationError, match="Depends"):
        StreamGuard("memory://", authenticate=Depends(owner))


async def test_both_switches_let_a_page_of_another_origin_in(sections: dict[str, dict[str, object]]) -> None:
    app, guard = app_of(sections["Pages of another origin: CORS"])
    page = {"Origin": ORIGIN, "Cookie": "a=b", "X-User": "ann"}
    async with GuardedApp(app, guard, headers=page) as ann:
        for method in ("GET", "POST", "DELETE"):
            asks = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": ", ".join(SENT)}
            allowed = await ann.request("OPTIONS", "/api/chat/c1/stop", headers=asks)
            assert (allowed.status, allowed.headers["access-control-allow-credentials"]) == (200, "true")
        answer = await ann.post({"id": "c1"})
        await answer.rest()
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert set(answer.headers["access-control-expose-headers"].split(", ")) == set(EXPOSED)
        assert (await ann.stop("c1")).status == 204
        elsewhere = await ann.visitor(page | {"Origin": "https://evil.example"}).stop("c1")
        assert (elsewhere.status, "access-control-allow-origin" in elsewhere.headers) == (403, False)


SENT: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "X-AI-SDK-Version",
    "X-Message-Id",
    "X-Stream-Id",
)
"""Headers that a client of the guard may send."""


async def test_without_the_second_switch_cookies_are_refused_and_tokens_pass(
    sections: dict[str, dict[str, object]],
) -> None:
    app, guard = asked_by(function(sections["Users and visitors"], "owner"))
    async with GuardedApp(app, guard, headers={"Origin": ORIGIN, "X-User": "ann"}) as ann:
        refused = await ann.post({"id": "c1"}, headers={"Cookie": "a=b"})
        assert refused.status == 403
        assert [fault.code for fault in refused.faults] == ["forbidden_origin"]
        assert ORIGIN in refused.faults[0].message
        assert (await ann.post({"id": "c1"}, headers={"Authorization": "Bearer x"})).status == 200


async def test_a_wildcard_with_credentials_lets_any_page_read() -> None:
    """So the page says: never."""
    guard = StreamGuard("memory://", authenticate=lambda connection: connection.cookies.get("user"))
    app = with_a_chat(FastAPI(lifespan=guard.lifespan), guard)
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)
    async with GuardedApp(app, guard, headers={"Cookie": "user=ann"}) as ann:
        await (await ann.post({"id": "c1"})).rest()
        read = await ann.resume("c1", headers={"Origin": "https://evil.example"})
        assert read.status == 200
        assert read.headers["access-control-allow-origin"] == "https://evil.example"
        assert read.headers["access-control-allow-credentials"] == "true"


async def test_an_embedded_session_is_partitioned(sections: dict[str, dict[str, object]]) -> None:
    names = sections["Pages embedded in other sites"]
    app = names["embedded"]
    assert isinstance(app, FastAPI)
    app.post("/login")(function(names, "login"))
    _, guard = app_of(names)
    async with GuardedApp(app, guard) as ann:
        (cookie,) = (await ann.post({}, path="/login")).set_cookies
    assert "samesite=none; secure; partitioned" in cookie.lower()


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The application of the page about JWT."""
    monkeypatch.setenv("JWT_SECRET", "made once, of 32 bytes and a few more")
    module = ModuleType("shop")
    source = next(text for _, text in blocks(JWT_PAGE, "python") if "StreamGuard(" in text)
    exec(compile(source, JWT_PAGE, "exec"), vars(module))
    return module


def bearer(shop: ModuleType, **claims: object) -> dict[str, str]:
    whole = {"sub": "ann", "iss": shop.ISSUER, "aud": shop.AUDIENCE, "exp": int(time.time()) + 60} | claims
    kept = {name: value for name, value in whole.items() if value is not None}
    return {"Authorization": f"Bearer {jwt.encode(kept, shop.SECRET, algorithm='HS256')}"}


async def test_a_token_names_the_owner(shop: ModuleType) -> None:
    async with GuardedApp(shop.app, shop.guard, headers=bearer(shop)) as ann:
        answer = await ann.post({"id": "c1"})
        await answer.read(4)
        answer.drop()
        rest = await ann.resume("c1", after=answer.cursor)
        await rest.rest()
        assert answer.text + rest.text == "Hello user-ann, nice to see you."
        bob = ann.visitor(bearer(shop, sub="bob"))
        assert (await bob.resume("c1")).status == 204
        assert (await bob.resume("c1", after=answer.cursor)).status == 410
        claims = {"sub": "ann", "iss": shop.ISSUER, "aud": shop.AUDIENCE, "exp": int(time.time()) + 60}
        other_key = jwt.encode(claims, "another key, which also has 32 bytes", algorithm="HS256")
        unsigned = jwt.encode(claims, "", algorithm="none")
        for headers in (
            {},
            {"Authorization": "Basic YW5uOng="},
            {"Authorization": f"Bearer {other_key}"},
            {"Authorization": f"Bearer {unsigned}"},
            bearer(shop, exp=int(time.time()) - 60),
            bearer(shop, exp=None),
            bearer(shop, iss="https://evil.example"),
            bearer(shop, aud="https://other.example"),
            bearer(shop, aud=None),
        ):
            stranger = ann.visitor(headers)
            assert (await stranger.resume("c1")).status == 401
            assert (await stranger.post({"id": "c1"})).status == 401
