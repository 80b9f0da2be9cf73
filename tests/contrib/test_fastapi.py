"""The guard's routes as FastAPI's own: the host's dependencies protect them, in an application and in a router."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Final

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from fastapi.security import HTTPBearer
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response

from streamguard import ConfigurationError, StreamGuard
from streamguard.contrib.fastapi import install
from streamguard.messages import MemoryMessageStore
from streamguard.testing import Answer, GuardedApp
from streamguard.web.routes.health import HEALTH_ROUTES
from streamguard.web.routes.paths import RouteName

from ..web.serving import calling, make_guard, user_of
from .guarded_chat import chat_of

pytestmark = pytest.mark.anyio

KEY: Final = {"X-Key": "k"}
EVERY: Final = [(route, method) for route in RouteName for method in route.methods]
OF_SESSIONS: Final = [(route, method) for route, method in EVERY if route not in HEALTH_ROUTES]


class Gate:
    """A dependency of the host's, which notes what it was asked for."""

    def __init__(self) -> None:
        self.sessions: list[str] = []

    async def __call__(self, x_key: str = Header(""), session: str = "") -> None:  # what FastAPI 0.115 can read
        if not session:  # a router's own dependencies run for health too
            return
        self.sessions.append(session)
        if x_key != "k":
            raise HTTPException(403, "no key")


def guard_with_messages() -> StreamGuard:
    return StreamGuard(authenticate=user_of, messages=MemoryMessageStore())


def in_an_application(guard: StreamGuard, gate: Gate) -> FastAPI:
    app = FastAPI()
    app.post("/api/chat")(chat_of(guard))
    install(guard, app, "/api/chat", dependencies=[Depends(gate)])
    return app


def in_a_router(guard: StreamGuard, gate: Gate) -> FastAPI:
    app, router = FastAPI(), APIRouter(prefix="/chat")
    install(guard, router, "", dependencies=[Depends(gate)])
    router.post("")(chat_of(guard))
    app.include_router(router, prefix="/api")
    return app


def in_a_router_of_a_router(guard: StreamGuard, gate: Gate) -> FastAPI:
    app, outer, inner = FastAPI(), APIRouter(), APIRouter()
    app.post("/api/chat")(chat_of(guard))
    install(guard, inner, "/chat", dependencies=[Depends(gate)])
    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    return app


def behind_the_router_s_own(guard: StreamGuard, gate: Gate) -> FastAPI:
    app, router = FastAPI(), APIRouter()
    app.post("/api/chat")(chat_of(guard))
    install(guard, router, "/api/chat")
    app.include_router(router, dependencies=[Depends(gate)])
    return app


def in_a_router_that_is_included_twice(guard: StreamGuard, gate: Gate) -> FastAPI:
    app, router = FastAPI(), APIRouter()
    app.post("/api/chat")(chat_of(guard))
    install(guard, router, "/chat", dependencies=[Depends(gate)])
    app.include_router(router, prefix="/other")
    app.include_router(router, prefix="/api")
    return app


PLACES: Final = [
    in_a_router_that_is_included_twice,
    in_an_application,
    in_a_router,
    in_a_router_of_a_router,
    behind_the_router_s_own,
]
everywhere: Final = pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)


async def path_of(route: RouteName, client: httpx.AsyncClient, session: str = "s") -> str:
    body = {"id": "s"}
    stream = (await client.post("/api/chat", json=body)).headers["x-stream-id"] if "{stream}" in route.path else ""
    return "/api/chat" + route.path.format(session=session, stream=stream)


@everywhere
@pytest.mark.parametrize(("route", "method"), OF_SESSIONS, ids=lambda one: getattr(one, "name", one))
async def test_a_dependency_protects_every_route_of_a_session(
    place: Callable[[StreamGuard, Gate], FastAPI], route: RouteName, method: str
) -> None:
    guard, gate = guard_with_messages(), Gate()
    async with calling(place(guard, gate), guard) as client:
        path = await path_of(route, client)
        refused = await client.request(method, path)
        assert refused.status_code == 403
        assert method == "HEAD" or refused.json() == {"detail": "no key"}
        assert (await client.request(method, path, headers=KEY)).status_code in (200, 202, 204)
        assert set(gate.sessions) == {"s"}


@everywhere
async def test_health_is_asked_without_a_key(place: Callable[[StreamGuard, Gate], FastAPI]) -> None:
    guard, gate = make_guard(), Gate()
    async with calling(place(guard, gate), guard) as client:
        for route in HEALTH_ROUTES:
            assert (await client.get("/api/chat" + route.path)).status_code == 200
            assert (await client.head("/api/chat" + route.path)).status_code == 200
        assert gate.sessions == []


@everywhere
async def test_routes_are_found_by_the_raw_path(place: Callable[[StreamGuard, Gate], FastAPI]) -> None:
    """`%2F` in an id is no slash; the dependency gets the id decoded."""
    guard, gate = guard_with_messages(), Gate()
    async with calling(place(guard, gate), guard, **KEY) as client:
        whole = await client.post("/api/chat", json={"id": "a/b ü"})
        again = await client.get("/api/chat/a%2Fb%20%C3%BC/stream")
        assert again.text == whole.text
        assert (await client.get("/api/chat/a%2Fb%20%C3%BC")).json()["session_id"] == "a/b ü"
        assert gate.sessions == ["a/b ü", "a/b ü"]
        assert (await client.get("/api/chat/a/b")).status_code == 404


@everywhere
async def test_other_methods_and_preflights_are_answered_as_without_fastapi(
    place: Callable[[StreamGuard, Gate], FastAPI],
) -> None:
    guard, gate = make_guard(), Gate()
    async with calling(place(guard, gate), guard) as client:
        allowed = await client.options("/api/chat/s/stream")
        assert (allowed.status_code, allowed.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        refused = await client.put("/api/chat/s/stop")
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST, OPTIONS")
        assert refused.json()["error"]["reason"] == "method_not_allowed"
        assert gate.sessions == []


@everywhere
async def test_the_owner_is_still_whom_authenticate_names(place: Callable[[StreamGuard, Gate], FastAPI]) -> None:
    guard = make_guard()
    async with calling(place(guard, Gate()), guard, **KEY) as client:
        await client.post("/api/chat", json={"id": "s"})
        assert (await client.get("/api/chat/s", headers={"X-User": "bob"})).json()["last"] is None
        del client.headers["X-User"]
        assert (await client.get("/api/chat/s")).status_code == 401


async def test_the_application_s_own_dependencies_run_and_nothing_warns() -> None:
    async def key(x_key: Annotated[str, Header()] = "") -> None:
        if x_key != "k":
            raise HTTPException(402, "pay first")

    guard, app = make_guard(), FastAPI(dependencies=[Depends(key)])
    app.post("/api/chat")(chat_of(guard))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        install(guard, app, "/api/chat")
    async with calling(app, guard) as client:
        assert (await client.get("/api/chat/s")).status_code == 402
        assert (await client.get("/api/chat/s", headers=KEY)).status_code == 200


async def test_overrides_and_security_schemes_are_fastapi_s() -> None:
    bearer, guard, app = HTTPBearer(), make_guard(), FastAPI()
    app.post("/api/chat")(chat_of(guard))
    install(guard, app, "/api/chat", dependencies=[Depends(bearer)])
    assert app.openapi()["paths"]["/api/chat/{session}/stop"]["post"]["security"] == [{"HTTPBearer": []}]
    async with calling(app, guard) as client:
        assert (await client.get("/api/chat/s")).status_code in (401, 403)  # FastAPI's default has changed
        assert (await client.get("/api/chat/s", headers={"Authorization": "Bearer t"})).status_code == 200
        app.dependency_overrides[bearer] = lambda: None
        assert (await client.get("/api/chat/s")).status_code == 200


async def test_a_dependency_that_yields_lasts_as_long_as_the_answer() -> None:
    told: list[str] = []

    async def database() -> AsyncIterator[None]:
        told.append("opened")
        yield
        told.append("closed")

    guard, app = make_guard(), FastAPI()
    install(guard, app, "/api/chat", dependencies=[Depends(database)])
    async with calling(app, guard) as client:
        assert (await client.get("/api/chat/s")).status_code == 200
    assert told == ["opened", "closed"]


async def test_what_the_host_spells_out_stays_the_hosts() -> None:
    async def page() -> Response:
        return PlainTextResponse("page")

    async def rename(chat_id: str) -> str:
        return chat_id

    guard, app, later = make_guard(), FastAPI(), APIRouter()
    app.get("/api/chat/history")(page)
    app.put("/api/chat/{chat_id}")(rename)
    install(guard, app, "/api/chat")
    app.get("/{anything:path}")(page)
    later.get("/popular")(page)
    app.include_router(later, prefix="/api/chat")
    async with calling(app, guard) as client:
        assert (await client.get("/api/chat/history")).text == "page"
        assert (await client.get("/api/chat/popular")).text == "page"
        assert (await client.put("/api/chat/s")).json() == "s"
        assert (await client.get("/api/chat/s")).json()["session_id"] == "s"
        assert (await client.get("/api/chat/s/stream")).status_code == 204
        assert (await client.get("/other")).text == "page"


async def test_a_catch_all_before_a_router_is_told_at_the_start() -> None:
    async def page() -> Response:
        return PlainTextResponse("page")

    guard = make_guard()
    app, router = FastAPI(lifespan=guard.lifespan), APIRouter()
    app.post("/api/chat")(chat_of(guard))
    app.get("/{anything:path}")(page)
    install(guard, router, "/api/chat")
    app.include_router(router)

    with pytest.raises(ConfigurationError, match=r"because GET /\{anything:path\} \(page\) comes first"):
        await guard.lifespan(app).__aenter__()


async def test_a_route_of_the_same_form_is_refused() -> None:
    async def show(chat_id: str) -> str:
        return chat_id

    guard, app = make_guard(), FastAPI()
    app.get("/api/chat/{chat_id}")(show)
    with pytest.raises(ConfigurationError, match=r"so GET /api/chat/\{chat_id\} \(show\) would never be reached"):
        install(guard, app, "/api/chat")


async def test_a_prefix_is_taken_once_whichever_way() -> None:
    guard, app, router = make_guard(), FastAPI(), APIRouter(prefix="/v1")
    install(guard, app, "/api/chat")
    with pytest.raises(ConfigurationError, match="a guard is installed under '/api/chat' already"):
        install(guard, app, "/api/chat")
    with pytest.raises(ConfigurationError, match="a guard is installed under '/api/chat' already"):
        guard.install(app, "/api/chat")
    install(guard, app, "/v2/chat")
    install(guard, router, "/chat")
    with pytest.raises(ConfigurationError, match="a guard is installed under '/v1/chat' already"):
        install(make_guard(), router, "/chat")


@pytest.mark.parametrize("prefix", ["", "chat", "/chat/", "/{chat}"])
def test_a_prefix_is_a_plain_path(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="install needs a plain path"):
        install(make_guard(), FastAPI(), prefix)
    if prefix:
        with pytest.raises(ConfigurationError, match="install needs a plain path"):
            install(make_guard(), APIRouter(), prefix)


def test_starlette_has_no_use_for_it() -> None:
    with pytest.raises(ConfigurationError, match=r"with a Starlette application, call guard\.install\(app, prefix\)"):
        install(make_guard(), Starlette(), "/chat")  # type: ignore[arg-type]


async def test_in_a_mounted_application() -> None:
    guard, gate = guard_with_messages(), Gate()
    site = FastAPI(lifespan=guard.lifespan)
    site.mount("/v1/{tenant}", in_a_router(guard, gate))
    async with GuardedApp(guard.wrap(site), guard, prefix="/v1/t/api/chat") as chat:

        async def asked(path: str) -> Answer:
            return await chat.request("GET", f"/v1/t/api/chat/{path}", headers={"X-User": "ann", **KEY})

        assert (await asked("a%2Fb")).json()["session_id"] == "a/b"
        assert (await asked("a%2Fb/stream")).status == 204
        assert gate.sessions == ["a/b", "a/b"]


@pytest.mark.processes
def test_without_fastapi_it_names_the_command() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "import streamguard.contrib.fastapi as contrib\n"
        "try: contrib.install\n"
        "except Exception as exc: print(type(exc).__name__, exc)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == (
        "ConfigurationError streamguard.contrib.fastapi.install needs FastAPI: "
        "`pip install 'streamguard-asgi[fastapi]'`\n"
    )
