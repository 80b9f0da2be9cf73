from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from streamguard import ConfigurationError, FaultCode, FaultError, anonymous
from streamguard.web.access.identity import Authenticate, identify

pytestmark = pytest.mark.anyio


def connection() -> HTTPConnection:
    headers = [(b"host", b"chat.example")]
    return HTTPConnection({"type": "http", "scheme": "http", "path": "/", "query_string": b"", "headers": headers})


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
