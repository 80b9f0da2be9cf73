"""What cannot name an owner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import Depends, Header
from fastapi.security import HTTPBearer, OAuth2PasswordBearer
from starlette.requests import HTTPConnection, Request

from streamguard import StreamGuard, anonymous
from streamguard.web.misuse import Misuse

from ..serving import user_of
from .sites import Body, asked, row, said, said_when, site

__all__: list[str] = []


def refused(authenticate: Any) -> str:
    return said(lambda: StreamGuard(authenticate=authenticate))


async def current_user(token: str = Depends(OAuth2PasswordBearer("/token")), database: object = None) -> str:
    return token


@row(Misuse.NO_AUTHENTICATE)
def nothing() -> str:
    return said(StreamGuard)


@row(Misuse.NO_AUTHENTICATE)
def a_name() -> str:
    return refused("ann")


@row(Misuse.AUTHENTICATE_DEPENDS)
def a_dependency() -> str:
    return refused(Depends(current_user))


@row(Misuse.AUTHENTICATE_PARAMETERS)
def a_function_written_like_one() -> str:
    return refused(current_user)


_PARAMETERS: Final = (
    "authenticate={0} is written like a FastAPI dependency ({1}), but the guard calls it with the connection alone: "
    "write a function of one parameter, def {0}(connection), that reads what it needs from connection.headers or "
    "connection.cookies"
)


@row(Misuse.AUTHENTICATE_PARAMETERS, _PARAMETERS.format("owner", "its parameters: x_user"))
def a_parameter_that_is_a_header() -> str:
    def owner(x_user: Annotated[str | None, Header()] = None) -> str | None:
        return x_user

    return refused(owner)


@row(Misuse.AUTHENTICATE_PARAMETERS, _PARAMETERS.format("owner", "its parameters: token"))
def a_parameter_that_is_a_query() -> str:
    def owner(token: str) -> str:
        return token

    return refused(owner)


@row(Misuse.AUTHENTICATE_PARAMETERS, _PARAMETERS.format("owner", "its parameters: request, database"))
def a_second_parameter() -> str:
    def owner(request: Request, database: object) -> str:
        return "ann"

    return refused(owner)


@row(Misuse.AUTHENTICATE_PARAMETERS, _PARAMETERS.format("owner", "its parameters: connection, tenant"))
def a_second_parameter_by_name() -> str:
    async def owner(connection: HTTPConnection, *, tenant: str) -> str:
        return "ann"

    return refused(owner)


@row(Misuse.AUTHENTICATE_PARAMETERS, _PARAMETERS.format("Owners", "its parameters: user"))
def an_object_written_like_one() -> str:
    class Owners:
        async def __call__(self, user: Annotated[str, Depends(user_of)]) -> str:
            return user

    return refused(Owners())


@row(Misuse.AUTHENTICATE_PARAMETERS, _PARAMETERS.format("owner", "it takes none"))
def no_parameter() -> str:
    def owner() -> str:
        return "ann"

    return refused(owner)


@row(Misuse.AUTHENTICATE_SECURITY)
def a_security_scheme() -> str:
    return refused(OAuth2PasswordBearer("/token"))


@row(
    Misuse.AUTHENTICATE_SECURITY,
    "authenticate=HTTPBearer(…) would take whatever the client sends for its owner, unverified: pass a function of the "
    "connection that verifies it and gives the user's id",
)
def another_security_scheme() -> str:
    return refused(HTTPBearer())


@row(Misuse.VISITORS_UNKNOWN)
async def a_secret_of_one_process_on_a_shared_store() -> str:
    guard = StreamGuard("redis://127.0.0.1:1/0", authenticate=anonymous)  # refused before it is asked
    return await said_when(guard.__aenter__())


@row(Misuse.AUTHENTICATE_RESULT)
async def a_number() -> str:
    guard = StreamGuard(authenticate=lambda _: 7)  # type: ignore[arg-type, return-value]
    async with guard:
        return await said_when(asked(site(guard, lifespan=None)))


@row(
    Misuse.AUTHENTICATE_RESULT,
    "authenticate must give a str or None, not a generator: return the user's id, after a `with` block around what has "
    "to be closed",
)
def a_dependency_that_yields() -> str:
    async def owner(connection: HTTPConnection) -> AsyncIterator[str]:
        yield "ann"

    return refused(owner)


@row(
    Misuse.AUTHENTICATE_RESULT,
    "authenticate must give a str or None, not Body: pass a function that gives the user's id",
)
def a_class() -> str:
    return refused(Body)
