from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import pytest
from starlette.requests import Request
from starlette.responses import Response

import streamguard
from streamguard import ConfigurationError, Run
from streamguard.web.endpoint.arguments import bind_arguments
from streamguard.web.endpoint.framework import REQUEST_PARAMETER, RESPONSE_PARAMETER
from streamguard.web.endpoint.signature import EndpointKind, EndpointSignature

if TYPE_CHECKING:
    from decimal import Decimal


def read(endpoint: Callable[..., object]) -> EndpointSignature:
    return EndpointSignature.read(endpoint, sys._getframe(1).f_locals)


async def agen() -> AsyncIterator[str]:
    yield ""


def gen() -> Iterator[str]:
    yield ""


async def coroutine() -> Response:
    return Response()


def function() -> Response:
    return Response()


class Endpoint:
    async def __call__(self, body: dict[str, str], run: Run) -> AsyncIterator[str]:
        yield ""

    async def method(self, body: dict[str, str]) -> AsyncIterator[str]:
        yield ""


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        (agen, EndpointKind.ASYNC_GENERATOR),
        (gen, EndpointKind.SYNC_GENERATOR),
        (coroutine, EndpointKind.COROUTINE),
        (function, EndpointKind.FUNCTION),
        (functools.partial(agen), EndpointKind.ASYNC_GENERATOR),
        (Endpoint(), EndpointKind.ASYNC_GENERATOR),
        (Endpoint().method, EndpointKind.ASYNC_GENERATOR),
    ],
)
def test_kinds(endpoint: Callable[..., object], kind: EndpointKind) -> None:
    assert read(endpoint).kind is kind


def test_run_is_taken_out_and_the_request_put_in() -> None:
    signature = read(Endpoint())
    assert signature.run == "run"
    assert list(signature.own.parameters) == ["body", "run"]
    assert list(signature.for_framework.parameters) == ["body", REQUEST_PARAMETER, RESPONSE_PARAMETER]
    assert signature.for_framework.parameters["body"].annotation == dict[str, str]
    assert signature.for_framework.return_annotation is Response


def test_the_endpoints_own_request_and_response_are_used() -> None:
    async def chat(request: Request, answer: Response, *, run: Annotated[Run | None, "ours"], **more: str) -> Response:
        return answer

    signature = read(chat)
    assert (signature.run, signature.request, signature.response) == ("run", "request", "answer")
    assert list(signature.for_framework.parameters) == ["request", "answer", "more"]


def test_hidden_parameters_come_before_keywords() -> None:
    async def chat(**more: str) -> Response:
        return Response()

    assert list(read(chat).for_framework.parameters) == [REQUEST_PARAMETER, RESPONSE_PARAMETER, "more"]


def test_an_unannotated_request_is_starlettes() -> None:
    def chat(request, other):  # type: ignore[no-untyped-def]
        return None

    assert read(chat).request == "request"


def test_local_classes_and_enclosed_ones_are_resolved() -> None:
    class Local:
        pass

    async def chat(body: Local) -> AsyncIterator[str]:
        yield ""

    assert read(chat).for_framework.parameters["body"].annotation is Local

    def factory() -> Callable[..., object]:
        async def inner(body: Local) -> AsyncIterator[str]:
            assert Local.__name__
            yield ""

        return inner

    assert EndpointSignature.read(factory(), {}).for_framework.parameters["body"].annotation is Local


def test_names_only_imported_for_type_checking_are_named_in_the_error() -> None:
    async def chat(amount: Decimal) -> AsyncIterator[str]:
        yield ""

    with pytest.raises(ConfigurationError, match=r"chat, parameter amount: .*'Decimal'"):
        read(chat)


def test_run_and_request_need_no_import() -> None:
    async def chat(request, run):  # type: ignore[no-untyped-def]
        yield ""

    chat.__annotations__ = {"request": "starlette.requests.Request", "run": "nowhere.Run", "return": "Nowhere"}
    signature = read(chat)
    assert (signature.request, signature.run) == ("request", "run")
    assert signature.returns is inspect.Signature.empty


def test_what_cannot_be_decorated() -> None:
    async def twice(a: Run, b: Run) -> AsyncIterator[str]:
        yield ""

    async def positional(run: Run, /) -> AsyncIterator[str]:
        yield ""

    for endpoint in (twice, positional, Endpoint, print, len):
        with pytest.raises(ConfigurationError):
            read(endpoint)
    with pytest.raises(ConfigurationError):
        read(7)  # type: ignore[arg-type]


def test_dressing_leaves_nothing_that_points_back() -> None:
    async def wrapper(*args: object, **kwargs: object) -> Response:
        return Response()

    signature = read(agen)
    signature.apply_to(wrapper, agen)
    assert (wrapper.__name__, wrapper.__module__, wrapper.__doc__) == ("agen", __name__, None)
    assert not hasattr(wrapper, "__wrapped__")
    assert inspect.signature(wrapper) == signature.for_framework
    assert wrapper.__annotations__["return"] is Response
    signature.apply_to(wrapper, Endpoint())
    assert wrapper.__name__ == "Endpoint"
    assert streamguard.Run is Run


def takes_one(request: Request) -> Iterator[str]:
    yield ""


def takes_several(first: int, request: Request, run: Run, second: int = 2) -> Iterator[str]:
    yield ""


def takes_one_by_position(request: Request, /) -> Iterator[str]:
    yield ""


def takes_one_by_name(request: Request, *, second: int = 2) -> Iterator[str]:
    yield ""


def takes_any(request: Request, *more: int, **others: int) -> Iterator[str]:
    yield ""


@pytest.mark.parametrize(
    ("endpoint", "given"),
    [
        (takes_one, ()),
        (takes_several, (1,)),
        (takes_several, (1, 3)),
        (takes_one_by_position, ()),
        (takes_one_by_name, ()),
        (takes_any, (4, 5)),
    ],
)
def test_arguments_given_by_position_are_bound_as_python_binds_them(
    endpoint: Callable[..., object], given: tuple[int, ...]
) -> None:
    request = Request({"type": "http", "headers": []})
    args = (request, *given) if endpoint is not takes_several else (given[0], request, *given[1:])
    signature = read(endpoint)
    bound = signature.given.bind(*args)
    bound.apply_defaults()
    assert dict(bind_arguments(signature, args, {}).named) == dict(bound.arguments)
