"""Visitors of applications without users: what their cookies say, for how long, and where they are known."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.routing import Route
from structlog.testing import LogCapture

from streamguard import Anonymous, ConfigurationError, Identity, StreamGuard, anonymous

from ..serving import calling

pytestmark = pytest.mark.anyio

SECRET, OLD = "a secret of at least sixteen characters", "what was the secret until last week"
DAY = 86_400


def connection(cookie: str = "", scheme: str = "http") -> HTTPConnection:
    headers = [(b"host", b"chat.example")] + ([(b"cookie", cookie.encode())] if cookie else [])
    scope = {"type": "http", "scheme": scheme, "path": "/", "query_string": b"", "headers": headers}
    return HTTPConnection(scope)


def cookie_in(identity: Identity) -> str:
    assert identity.set_cookie is not None
    return identity.set_cookie.partition(";")[0]


async def cookie_of(guest: Anonymous) -> tuple[Identity, str]:
    identity = await guest(connection())
    assert identity.is_new
    return identity, cookie_in(identity)


@pytest.fixture
def logged() -> Iterator[LogCapture]:
    """What structlog would have written."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture
    structlog.reset_defaults()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Turn the clock by so many seconds from now."""
    now = time.time

    def turn(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: now() + seconds)

    return turn


async def test_a_new_visitor_gets_a_cookie_that_makes_it_the_same_owner_again() -> None:
    guest = Anonymous(SECRET)
    first, cookie = await cookie_of(guest)
    again = await guest(connection(cookie))
    assert again == first
    assert (again.set_cookie, again.is_new, again.is_anonymous) == (None, False, True)
    assert await guest(connection()) != first


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    guest = Anonymous(SECRET)
    plain, encrypted = await guest(connection()), await guest(connection(scheme="https"))
    assert plain.set_cookie is not None
    assert encrypted.set_cookie is not None
    for attribute in ("HttpOnly", "SameSite=Lax", "Path=/"):
        assert attribute in plain.set_cookie
    assert "Secure" not in plain.set_cookie
    assert encrypted.set_cookie.endswith("; Secure")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_embedded_page_has_a_cookie_for_the_site_that_embeds_it(scheme: str) -> None:
    """Also where a proxy ended TLS: without `Secure` browsers would refuse it."""
    identity = await Anonymous(SECRET, embedded=True)(connection(scheme=scheme))
    assert identity.set_cookie is not None
    _, *attributes = identity.set_cookie.split("; ")
    assert attributes == ["Max-Age=31536000", "Path=/", "HttpOnly", "SameSite=None", "Secure", "Partitioned"]


@pytest.mark.parametrize(
    "mangle",
    [
        lambda c: c[:-1] + ("A" if c[-1] != "A" else "g"),
        lambda c: c.replace(".", "x"),
        lambda c: c.partition(".")[0],
        lambda c: c.rpartition(".")[0],
        lambda c: c.replace("=", "=0", 1),
        lambda _: "streamguard_owner=é.é.é",
        lambda _: "streamguard_owner=",
        lambda _: "streamguard_owner=" + "." * 4_000,
    ],
)
async def test_a_tampered_cookie_is_a_new_visitor(mangle: Callable[[str], str]) -> None:
    guest = Anonymous(SECRET)
    first, cookie = await cookie_of(guest)
    found = await guest(connection(mangle(cookie)))
    assert found != first
    assert found.is_new


async def test_a_signed_value_that_names_nobody_is_a_new_visitor() -> None:
    guest = Anonymous(SECRET)
    signer = guest._signers[0]
    assert (await guest(connection(f"streamguard_owner={signer.sign('admin').decode()}"))).is_new


async def test_a_cookie_for_one_name_is_worth_nothing_under_another() -> None:
    first, cookie = await cookie_of(Anonymous(SECRET))
    other = cookie.replace("streamguard_owner", "other")
    assert await Anonymous(SECRET, cookie="other")(connection(other)) != first


# -- secrets ----------------------------------------------------------------------------------------------------------


async def test_secrets_tell_workers_apart_unless_they_share_one() -> None:
    first, cookie = await cookie_of(Anonymous(SECRET))
    assert await Anonymous(SECRET)(connection(cookie)) == first
    assert await Anonymous(OLD)(connection(cookie)) != first
    assert await Anonymous()(connection(cookie)) != first
    assert anonymous.random_secret
    assert not Anonymous(SECRET).random_secret


async def test_a_new_secret_loses_no_visitor_while_the_old_one_is_accepted() -> None:
    """Its cookie is replaced with its next message, so that the old secret can go."""
    first, cookie = await cookie_of(Anonymous(OLD))
    again = await Anonymous([SECRET, OLD])(connection(cookie))
    assert (again, again.is_new) == (first, False)
    renewed = cookie_in(again)
    assert (await Anonymous([SECRET])(connection(renewed))) == first
    assert (await Anonymous([SECRET, OLD])(connection(renewed))).set_cookie is None
    assert (await Anonymous([SECRET])(connection(cookie))).is_new


async def test_the_first_of_several_signs() -> None:
    first, cookie = await cookie_of(Anonymous([SECRET, OLD]))
    assert await Anonymous(SECRET)(connection(cookie)) == first
    assert await Anonymous(OLD)(connection(cookie)) != first


# -- time -------------------------------------------------------------------------------------------------------------


async def test_an_old_cookie_names_nobody_whatever_the_browser_keeps(later: Callable[[float], None]) -> None:
    guest = Anonymous(SECRET, max_age_seconds=10 * DAY)
    first, cookie = await cookie_of(guest)
    later(9.9 * DAY)
    assert await guest(connection(cookie)) == first
    later(10.1 * DAY)
    gone = await guest(connection(cookie))
    assert gone != first
    assert gone.is_new


async def test_who_comes_back_in_time_stays_who_it_is(later: Callable[[float], None]) -> None:
    guest = Anonymous(SECRET, max_age_seconds=10 * DAY)
    first, cookie = await cookie_of(guest)
    later(4 * DAY)
    assert (await guest(connection(cookie))).set_cookie is None
    for day in (6, 12, 18):
        later(day * DAY)
        again = await guest(connection(cookie))
        assert (again, again.is_new) == (first, False)
        cookie = cookie_in(again)
        assert f"Max-Age={10 * DAY}" in str(again.set_cookie)


async def test_another_workers_clock_may_be_ahead(later: Callable[[float], None]) -> None:
    later(300)
    first, cookie = await cookie_of(Anonymous(SECRET))
    later(0)
    assert await Anonymous(SECRET)(connection(cookie)) == first


# -- what cannot work -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"secret": "short"}, "at least 16 characters"),
        ({"secret": ""}, "at least 16 characters"),
        ({"secret": [SECRET, "short"]}, "at least 16 characters"),
        ({"secret": [SECRET, None]}, "at least 16 characters"),
        ({"secret": 1_234_567_890_123_456}, "at least 16 characters"),
        ({"secret": b"sixteen characters"}, "at least 16 characters"),
        ({"secret": []}, "at least one secret"),
        ({"cookie": "a b"}, "cookie's name"),
        ({"cookie": ""}, "cookie's name"),
        ({"max_age_seconds": 0}, "max_age_seconds"),
        ({"max_age_seconds": -1}, "max_age_seconds"),
    ],
)
def test_bad_configuration_is_found_when_constructed(bad: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        Anonymous(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("visitors", [anonymous, Anonymous(), Anonymous(embedded=True)])
async def test_a_secret_of_one_process_is_refused_on_a_store_that_several_share(
    visitors: Anonymous, redis_url: str
) -> None:
    guard = StreamGuard(redis_url, authenticate=visitors)
    for _ in range(2):  # it is not half started
        with pytest.raises(ConfigurationError, match=r'Anonymous\(os\.environ\["CHAT_SECRET"\]\)'):
            async with guard:
                pass
    async with guard.reconciling():  # which nobody visits
        pass


async def test_a_secret_that_workers_share_may_be_used_on_any_store(redis_url: str, logged: LogCapture) -> None:
    for guard in (
        StreamGuard(redis_url, authenticate=Anonymous(SECRET)),
        StreamGuard("memory://", authenticate=anonymous),
    ):
        async with guard:
            pass
    assert [entry for entry in logged.entries if entry["event"] == "streamguard.store_warning"] == []


async def test_behind_a_function_of_the_hosts_it_is_told_of_once(redis_url: str, logged: LogCapture) -> None:
    """Nobody can know at startup what a function will ask."""

    async def owner(connection: HTTPConnection) -> str | None:
        return connection.headers.get("x-account") or await anonymous(connection)

    guard = StreamGuard(redis_url, authenticate=owner)

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "hello"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        assert (await client.post("/chat?id=s", headers={"X-Account": "ann"})).status_code == 200
        assert warnings_in(logged) == []
        for _ in range(2):
            assert (await client.post("/chat?id=s")).status_code == 200
    (warning,) = warnings_in(logged)
    assert "Anonymous(os.environ" in str(warning)


def warnings_in(logged: LogCapture) -> list[object]:
    return [entry["warning"] for entry in logged.entries if entry["event"] == "streamguard.store_warning"]
