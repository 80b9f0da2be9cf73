from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from uuid import UUID

import pytest
from starlette.requests import Request

from streamguard import ConfigurationError, FaultCode, FaultError, Run
from streamguard.web.access.checked_ids import checked_message_id, checked_session_id
from streamguard.web.endpoint.selector import Selector, SelectorSource
from streamguard.web.endpoint.signature import EndpointSignature

pytestmark = pytest.mark.anyio


async def chat(body: object, tenant: str, run: Run) -> AsyncIterator[str]:
    yield ""


STREAM = "5" * 24
SIGNATURE = EndpointSignature.read(chat, sys._getframe().f_locals)
REQUEST = Request({"type": "http", "path_params": {"chat": "from the path"}, "headers": []})


async def find(source: SelectorSource, **arguments: object) -> object:
    return await Selector(source, "session", SIGNATURE).find({"body": None, "tenant": "t", **arguments}, REQUEST)


async def of_body(body: SimpleNamespace) -> str:
    return f"async {body.id}"


async def test_attributes_keys_and_callables() -> None:
    assert await find("tenant") == "t"
    assert await find("body.id", body=SimpleNamespace(id="a")) == "a"
    assert await find("body.chat.id", body={"chat": SimpleNamespace(id="b")}) == "b"
    assert await find("request.path_params.chat") == "from the path"
    assert await find(lambda tenant, request: (tenant, request is REQUEST)) == ("t", True)
    assert await find(of_body, body=SimpleNamespace(id="c")) == "async c"
    assert await find(lambda tenant, extra="default": extra) == "default"


async def test_what_is_missing_is_none() -> None:
    for body in (None, {}, {"chat": None}, SimpleNamespace()):
        assert await find("body.chat.id", body=body) is None


@pytest.mark.parametrize("source", ["nobody.id", "run", "body.", "", "body..id", lambda nobody: nobody])
def test_a_selector_that_names_nothing_is_found_when_decorating(source: SelectorSource) -> None:
    with pytest.raises(ConfigurationError, match="parameters are: body, request, tenant"):
        Selector(source, "session", SIGNATURE)


@pytest.mark.parametrize("value", ["a", "x" * 256, "a/b", "{chat}:*", "ü", "a b", "...", "$"])
def test_sessions_that_are_fine(value: str) -> None:
    assert checked_session_id(value) == value


def test_sessions_that_are_converted_or_made() -> None:
    assert checked_session_id(7) == "7"
    assert checked_session_id(UUID(int=1)) == "00000000-0000-0000-0000-000000000001"
    assert checked_session_id(None).startswith("ses_")
    assert checked_session_id(None) != checked_session_id(None)
    assert checked_message_id(None, STREAM) == f"msg_{STREAM}"
    assert checked_message_id(UUID(int=1), STREAM) == "00000000-0000-0000-0000-000000000001"
    assert checked_message_id("m1", STREAM) == "m1"


ILLEGAL = [
    "",
    "x" * 257,
    "ü" * 129,
    "\x00",
    "a\nb",
    "a\rb",
    "a\x7f",
    "a\x85",
    "a\u2028",
    "\ud800",
    True,
    1.5,
    b"a",
    ["a"],
]


@pytest.mark.parametrize("value", [*ILLEGAL, ".", ".."])
def test_sessions_that_are_refused(value: object) -> None:
    with pytest.raises(FaultError) as refused:
        checked_session_id(value)
    assert refused.value.fault.code is FaultCode.SESSION_INVALID


@pytest.mark.parametrize("value", ILLEGAL)
def test_message_ids_that_are_refused(value: object) -> None:
    with pytest.raises(FaultError) as refused:
        checked_message_id(value, STREAM)
    assert (refused.value.fault.code, refused.value.fault.reason) == (FaultCode.REQUEST_INVALID, "message_id")
