from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from streamguard import Anonymous, ConfigurationError, FaultCode, FaultError, Identity, anonymous
from streamguard.web.identity import Authenticate, identify

pytestmark = pytest.mark.anyio

SECRET = "a secret of at least sixteen characters"


def connection(cookie: str = "", scheme: str = "http") -> HTTPConnection:
    headers = [(b"host", b"chat.example")] + ([(b"cookie", cookie.encode())] if cookie else [])
    scope = {"type": "http", "scheme": scheme, "path": "/", "query_string": b"", "headers": headers}
    return HTTPConnection(scope)


async def cookie_of(guest: Anonymous) -> tuple[Identity, str]:
    identity = await guest(connection())
    assert identity.set_cookie is not None
    return identity, identity.set_cookie.partition(";")[0]


async def test_a_new_visitor_gets_a_cookie_that_makes_it_the_same_owner_again() -> None:
    guest = Anonymous(SECRET)
    first, cookie = await cookie_of(guest)
    again = await guest(connection(cookie))
    assert again == first
    assert again.set_cookie is None
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


@pytest.mark.parametrize("mangle", [lambda c: c[:-1] + ("0" if c[-1] != "0" else "1"), lambda c: c.replace(".", "x")])
async def test_a_tampered_cookie_is_a_new_visitor(mangle: object) -> None:
    guest = Anonymous(SECRET)
    first, cookie = await cookie_of(guest)
    assert callable(mangle)
    for value in (mangle(cookie), cookie.partition(".")[0], "streamguard_owner=é.é"):
        assert await guest(connection(value)) != first


async def test_secrets_tell_workers_apart_unless_they_share_one() -> None:
    first, cookie = await cookie_of(Anonymous(SECRET))
    assert await Anonymous(SECRET)(connection(cookie)) == first
    assert await Anonymous(SECRET[::-1])(connection(cookie)) != first
    assert await Anonymous()(connection(cookie)) != first
    assert anonymous.random_secret
    assert not Anonymous(SECRET).random_secret


async def test_a_cookie_for_one_name_is_worth_nothing_under_another() -> None:
    first, cookie = await cookie_of(Anonymous(SECRET))
    other = cookie.replace("streamguard_owner", "other")
    assert await Anonymous(SECRET, cookie="other")(connection(other)) != first


@pytest.mark.parametrize("bad", [{"secret": "short"}, {"cookie": "a b"}, {"cookie": ""}])
def test_bad_configuration_is_found_when_constructed(bad: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        Anonymous(**bad)  # type: ignore[arg-type]


async def test_authenticate_may_be_sync_or_async_and_pass_on_an_identity() -> None:
    async def later(_: HTTPConnection) -> str | None:
        return "ann"

    async def guest(connection: HTTPConnection) -> str | None:
        return await anonymous(connection)

    def now(_: HTTPConnection) -> str | None:
        return "ann"

    def nobody(_: HTTPConnection) -> str | None:
        return None

    assert await identify(later, connection()) == await identify(now, connection()) == "ann"
    assert await identify(nobody, connection()) is None
    visitor = await identify(guest, connection())
    assert visitor is not None
    assert visitor.set_cookie is not None


async def test_an_empty_name_is_nobody() -> None:
    assert await identify(lambda _: "", connection()) is None


@pytest.mark.parametrize("owner", ["x" * 513, "é" * 257, "\ud800", "a\0b", "a\nb"])
async def test_a_name_that_no_store_can_hold_is_refused_by_name(owner: str) -> None:
    with pytest.raises(FaultError) as caught:
        await identify(lambda _: owner, connection())
    assert (caught.value.fault.code, caught.value.fault.reason) == (FaultCode.UNAUTHENTICATED, "owner_invalid")


@pytest.mark.parametrize("owner", ["x" * 512, "é" * 256, "a b", "o=org,ou=people"])
async def test_a_name_that_every_store_can_hold_is_an_owners(owner: str) -> None:
    assert await identify(lambda _: owner, connection()) == owner


async def test_an_owner_that_is_no_text_is_a_configuration_error() -> None:
    authenticate: Authenticate = lambda _: 7  # type: ignore[assignment,return-value]  # noqa: E731
    with pytest.raises(ConfigurationError, match=r"str\(\)"):
        await identify(authenticate, connection())
