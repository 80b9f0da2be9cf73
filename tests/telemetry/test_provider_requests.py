"""Log and Sentry name the request of a provider that failed, and nothing else of what a host's exception has."""

from __future__ import annotations

import json

import anthropic
import httpx
import openai
import pytest

from streamguard import Fault, FaultCode, Observation, Signal
from streamguard.telemetry import StructlogObserver
from streamguard.telemetry.sentry.errors import event_of

from .logged import logged

REQUEST = httpx.Request("POST", "https://provider.invalid/v1")


def answer(status: int, name: str, value: str) -> httpx.Response:
    return httpx.Response(status, headers={name: value}, request=REQUEST)


def wrapped(error: Exception) -> Exception:
    outer = RuntimeError("the prompt was: secret")
    outer.__cause__ = error
    return outer


class HostError(Exception):
    """A host's own, which keeps what it was about."""

    def __init__(self, request_id: object, response: object = None) -> None:
        super().__init__("secret")
        self.request_id = request_id
        self.response = response


class BrokenError(Exception):
    """Its attributes fail."""

    @property
    def response(self) -> object:
        raise RuntimeError("secret")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (openai.RateLimitError("x", response=answer(429, "x-request-id", "req_1"), body=None), "req_1"),  # type: ignore[arg-type]
        (anthropic.APIStatusError("x", response=answer(200, "request-id", "req_2"), body=None), "req_2"),  # type: ignore[arg-type]
        (httpx.HTTPStatusError("x", request=REQUEST, response=answer(500, "x-request-id", "req_3")), "req_3"),
        (wrapped(httpx.HTTPStatusError("x", request=REQUEST, response=answer(500, "request-id", "req_4"))), "req_4"),
        (httpx.HTTPStatusError("x", request=REQUEST, response=answer(500, "x-request-id", "a secret text")), None),
        (httpx.HTTPStatusError("x", request=REQUEST, response=answer(500, "x-request-id", "s" * 129)), None),
        (httpx.ReadError("x"), None),
        (HostError("secret"), None),
        (HostError(["secret"], response=object()), None),
        (BrokenError(), None),
        (KeyError("secret"), None),
    ],
)
def test_the_request_that_failed(error: Exception, name: str | None) -> None:
    observation = Observation(Signal.FAULT, fault=Fault.of(FaultCode.PROVIDER_ERROR), error=error)
    with logged() as lines:
        StructlogObserver()(observation)
    event = event_of(observation, {})
    assert [line.get("provider_request_id") for line in lines] == [name]
    context = event["contexts"]["streamguard"]
    assert context.get("provider_request_id") == name
    assert "secret" not in json.dumps([lines, event], default=str)
