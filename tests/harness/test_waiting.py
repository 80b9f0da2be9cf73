"""Waiting for a condition: what a predicate raises is "not yet", unless it asserts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest

from .waiting import wait_until, wait_until_async

pytestmark = pytest.mark.anyio

Wait = Callable[..., Awaitable[object]]


async def _blocking(predicate: Callable[[], object], *, description: str, timeout: float = 20.0) -> object:
    return wait_until(predicate, description=description, timeout=timeout)


@pytest.fixture(params=[_blocking, wait_until_async], ids=["blocking", "async"])
def wait(request: pytest.FixtureRequest) -> Wait:
    found: Wait = request.param
    return found


def answers() -> Iterator[dict[str, str]]:
    yield {}
    yield {"state": ""}
    while True:
        yield {"state": "ready"}


async def test_a_field_that_is_not_there_yet_is_waited_for(wait: Wait) -> None:
    given = answers()
    assert await wait(lambda: next(given)["state"], description="a state") == "ready"


async def test_a_server_that_does_not_answer_yet_is_waited_for(wait: Wait) -> None:
    refused = iter([True, True, False])

    def answer() -> str:
        if next(refused):
            raise ConnectionRefusedError
        return "here"

    assert await wait(answer, description="an answer") == "here"


async def test_a_failure_says_what_was_raised_at_last(wait: Wait) -> None:
    with pytest.raises(AssertionError, match="not within 0 s: a state") as failed:
        await wait(lambda: dict[str, str]()["state"], description="a state", timeout=0)
    assert isinstance(failed.value.__cause__, KeyError)


async def test_an_assertion_ends_the_wait(wait: Wait) -> None:
    calls: list[None] = []

    def never() -> bool:
        calls.append(None)
        assert not calls, "what must never be"
        return False

    with pytest.raises(AssertionError, match="what must never be"):
        await wait(never, description="nothing")
    assert len(calls) == 1
