"""What the exceptions of agents' libraries mean to a client."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator

import pytest

from tests.harness.tools import missing

from .guarded import answered

pytestmark = pytest.mark.anyio


def made(library: str, name: str, *args: object, **more: object) -> Exception:
    error: Exception = getattr(importlib.import_module(library), name)(*args, **more)
    return error


@pytest.mark.parametrize(
    ("library", "name", "args", "code", "status"),
    [
        ("pydantic_ai.exceptions", "ModelHTTPError", (429, "m"), "provider_rate_limited", 503),
        ("pydantic_ai.exceptions", "ModelHTTPError", (401, "m"), "provider_error", 502),
        ("pydantic_ai.exceptions", "ModelHTTPError", (503, "m"), "provider_error", 502),
        ("pydantic_ai.exceptions", "ModelAPIError", ("m", "own words"), "provider_error", 502),
        ("pydantic_ai.exceptions", "UnexpectedModelBehavior", ("own words",), "provider_error", 502),
        ("pydantic_ai.exceptions", "UsageLimitExceeded", ("own words",), "internal", 500),
        ("pydantic_ai.exceptions", "UserError", ("own words",), "internal", 500),
        ("agents.exceptions", "ModelBehaviorError", ("own words",), "provider_error", 502),
        ("agents.exceptions", "MaxTurnsExceeded", ("own words",), "internal", 500),
        ("agents.exceptions", "UserError", ("own words",), "internal", 500),
        ("langgraph.errors", "GraphRecursionError", ("own words",), "internal", 500),
        ("langchain_core.exceptions", "OutputParserException", ("own words",), "internal", 500),
    ],
)
async def test_an_exception_before_the_answer(
    library: str, name: str, args: tuple[object, ...], code: str, status: int
) -> None:
    error = made(library, name, *args)

    async def failing() -> AsyncIterator[object]:
        for one in [error]:
            raise one
        yield ""

    answer = await answered(failing)
    assert (answer.fault, answer.status) == (code, status)
    assert b"own words" not in answer.body


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [
        ("ModelRateLimitError", "provider_rate_limited", 503),
        ("ModelConnectionError", "provider_aborted", 502),
        ("ModelTimeoutError", "provider_timeout", 504),
        ("ModelOverloadedError", "provider_error", 502),
    ],
)
async def test_errors_of_pydantic_ai_without_a_status(name: str, code: str, status: int) -> None:
    if not hasattr(importlib.import_module("pydantic_ai.exceptions"), name):
        missing(f"{name} needs a later pydantic-ai: pip install --upgrade pydantic-ai-slim")
    await test_an_exception_before_the_answer("pydantic_ai.exceptions", name, ("m", "own words"), code, status)
