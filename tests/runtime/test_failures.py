"""Whose failure an endpoint's exception is: the provider's, as its client library tells, or the host's own."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from typing import ClassVar

import anthropic
import httpx
import openai
import pytest

from streamguard.errors import FaultError, InvalidPartError
from streamguard.faults import Fault, FaultCode
from streamguard.frames import own_place
from streamguard.runtime.producing.failures import fault_of
from streamguard.settings import Settings
from streamguard.stores.memory import MemoryStore

from .stage import quick, saying, working

pytestmark = pytest.mark.anyio

REQUEST = httpx.Request("POST", "https://provider.invalid/v1")


def raised(step: Callable[[], object]) -> Exception:
    try:
        step()
    except Exception as exc:  # noqa: BLE001 -- whatever it is
        return exc
    raise AssertionError("nothing was raised")


def without_key() -> Exception:
    """A client made without an API key fails before anything is sent."""
    return raised(lambda: openai.AsyncOpenAI(api_key=None, admin_api_key=None))


def anthropic_without_key() -> Exception:
    client = anthropic.Anthropic(api_key=None, auth_token=None, base_url="https://provider.invalid")
    return raised(lambda: client.messages.create(max_tokens=1, messages=[{"role": "user", "content": "x"}], model="m"))


def wrapped(error: Exception) -> Exception:
    def step() -> None:
        raise RuntimeError("the model failed") from error

    return raised(step)


def in_passing(error: Exception) -> Exception:
    """A mistake made while a provider's failure is handled is a mistake all the same."""

    def step() -> None:
        try:
            raise error
        except Exception:  # noqa: BLE001 -- whatever it is
            raise KeyError("usage")  # noqa: B904 -- the point

    return raised(step)


def answer(status: int, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, headers=headers, request=REQUEST)


class ClientResponseError(Exception):
    """As aiohttp's."""

    def __init__(self, status: int) -> None:
        self.status = status


class BotoError(Exception):
    """As botocore's ClientError."""

    response: ClassVar = {"ResponseMetadata": {"HTTPStatusCode": 503}}


class APIError(Exception):
    """As google-genai's."""

    code = 503


OWN = [
    KeyError("user"),
    TypeError("NoneType"),
    AttributeError("x"),
    ValueError("x"),
    RuntimeError("x"),
    FileNotFoundError("prompt.txt"),
    NotImplementedError(),
    json.JSONDecodeError("x", "{", 0),
    raised(lambda: json.loads("{")),
    InvalidPartError("x", protocol="plain"),
    ExceptionGroup("tools", [KeyError("x"), ValueError("y")]),
]


@pytest.mark.parametrize("error", OWN, ids=lambda error: type(error).__name__)
async def test_a_plain_python_error_is_the_hosts_own(memory: MemoryStore, error: Exception) -> None:
    await check(memory, error, FaultCode.INTERNAL, 500, retryable=False)


@pytest.mark.parametrize("make", [without_key, anthropic_without_key])
async def test_a_client_used_wrongly_is_the_hosts_own(
    memory: MemoryStore, make: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    error = await asyncio.to_thread(make)
    assert type(error) in (openai.OpenAIError, TypeError)
    await check(memory, error, FaultCode.INTERNAL, 500, retryable=False)


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (openai.APIConnectionError(request=REQUEST), FaultCode.PROVIDER_ABORTED, True),  # type: ignore[arg-type]
        (openai.APITimeoutError(REQUEST), FaultCode.PROVIDER_TIMEOUT, True),  # type: ignore[arg-type]
        (openai.APIError("overloaded", REQUEST, body=None), FaultCode.PROVIDER_ERROR, True),  # type: ignore[arg-type]
        (openai.AuthenticationError("x", response=answer(401), body=None), FaultCode.PROVIDER_ERROR, False),  # type: ignore[arg-type]
        (openai.RateLimitError("x", response=answer(429), body=None), FaultCode.PROVIDER_RATE_LIMITED, True),  # type: ignore[arg-type]
        (anthropic.InternalServerError("x", response=answer(529), body=None), FaultCode.PROVIDER_ERROR, True),  # type: ignore[arg-type]
        (anthropic.APIConnectionError(request=REQUEST), FaultCode.PROVIDER_ABORTED, True),  # type: ignore[arg-type]
        (
            openai.APIError("x", REQUEST, body={"code": "rate_limit_exceeded"}),  # type: ignore[arg-type] # in mid-stream
            FaultCode.PROVIDER_RATE_LIMITED,
            True,
        ),
        (
            anthropic.APIStatusError("x", response=answer(200), body={"error": {"type": "rate_limit_error"}}),  # type: ignore[arg-type]
            FaultCode.PROVIDER_RATE_LIMITED,
            True,
        ),
        (httpx.HTTPStatusError("x", request=REQUEST, response=answer(503)), FaultCode.PROVIDER_ERROR, True),
        (httpx.ReadError("x"), FaultCode.PROVIDER_ABORTED, True),
        (httpx.RemoteProtocolError("x"), FaultCode.PROVIDER_ABORTED, True),
        (httpx.ReadTimeout("x"), FaultCode.PROVIDER_TIMEOUT, True),
        (ClientResponseError(429), FaultCode.PROVIDER_RATE_LIMITED, True),
        (ClientResponseError(400), FaultCode.PROVIDER_ERROR, False),
        (BotoError(), FaultCode.PROVIDER_ERROR, True),
        (APIError(), FaultCode.PROVIDER_ERROR, True),
        (ConnectionResetError(), FaultCode.PROVIDER_ABORTED, True),
        (socket.gaierror(), FaultCode.PROVIDER_ABORTED, True),
        (ssl.SSLError(), FaultCode.PROVIDER_ABORTED, True),
        (TimeoutError(), FaultCode.PROVIDER_TIMEOUT, True),
        (wrapped(ClientResponseError(429)), FaultCode.PROVIDER_RATE_LIMITED, True),
        (wrapped(wrapped(httpx.ReadError("x"))), FaultCode.PROVIDER_ABORTED, True),
        (wrapped(KeyError("x")), FaultCode.INTERNAL, False),
        (in_passing(httpx.ReadError("x")), FaultCode.INTERNAL, False),
        (ExceptionGroup("calls", [httpx.ReadError("x")]), FaultCode.PROVIDER_ABORTED, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_a_providers_failure_is_told_by_its_shape(
    memory: MemoryStore, error: Exception, code: FaultCode, retryable: bool
) -> None:
    await check(memory, error, code, None, retryable=retryable)


async def test_a_fault_that_names_no_stream_is_given_the_stream_that_failed(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await worker.start(saying("x"))
        fault = fault_of(FaultError(Fault.of(FaultCode.PROVIDER_ABORTED)), stream)
        await stream.ended()
        assert (fault.code, fault.stream_id) == (FaultCode.PROVIDER_ABORTED, stream.ref.stream_id)
        placed = Fault.about(stream, FaultCode.INTERNAL)
        assert fault_of(FaultError(placed), stream) is placed


async def check(memory: MemoryStore, error: Exception, code: FaultCode, status: int | None, *, retryable: bool) -> None:
    async with working(memory) as worker:
        stream = await worker.start(saying("x"))
        fault = fault_of(error, stream)
        await stream.ended()
    assert (fault.code, fault.retryable) == (code, retryable)
    assert fault.status == (status or fault.status)
    assert fault.debug is None


async def test_debug_mode_tells_class_and_text(memory: MemoryStore) -> None:
    settings = Settings.model_validate({**quick().model_dump(), "debug": True})
    async with working(memory, settings) as worker:
        stream = await worker.start(saying("x"))
        assert fault_of(KeyError("user"), stream).debug == "KeyError: 'user'"
        long = fault_of(ValueError("x" * 10_000), stream).debug
        assert long is not None
        assert len(long) == 2_000
        await stream.ended()


def mistaken() -> None:
    httpx.Headers({"a": "b"})["missing"]


def test_the_place_is_in_the_hosts_own_code() -> None:
    error = raised(mistaken)
    place = own_place(error)
    assert place is not None
    assert (place.filename, place.function) == (__file__, "mistaken")


def test_an_exception_never_raised_has_no_place() -> None:
    assert own_place(KeyError("x")) is None


def test_an_application_that_is_installed_has_a_place_too() -> None:
    """Code without a frame of the host's own: the first that is not ours, nor Python's."""
    names: dict[str, Callable[[], object]] = {}
    exec(compile("def chat():\n    raise KeyError('x')\n", "/opt/venv/lib/site-packages/shop/chat.py", "exec"), names)
    error = raised(names["chat"])
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # without this test's own
    assert str(own_place(error)) == "/opt/venv/lib/site-packages/shop/chat.py:2 in chat"
