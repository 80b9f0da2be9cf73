"""pydantic-ai's streams through its adapter: what the client is sent, what is saved, what is charged."""

from __future__ import annotations

from types import ModuleType

import pytest

from streamguard import Outcome

from .guarded import ANSWER, BROKEN, LOOK, THOUGHT, UNITS, Case, Held, Told, answered

pytestmark = pytest.mark.anyio

WAYS = ["events", "iter", "nodes", "stream", "adapter", "chunks", "encoded"]
CHUNKS = ("chunks", "encoded")
"""Ways in which pydantic-ai's own adapter has made a part of a failure before."""


@pytest.fixture
def runs() -> ModuleType:
    """The cases, with the library that they need."""
    from . import pydantic_ai_runs

    return pydantic_ai_runs


def spent(runs: ModuleType) -> dict[str, int]:
    """What pydantic-ai says that the run consumed, by unit."""
    found = {unit: getattr(runs.spent, unit, 0) for unit in UNITS}
    return {unit: amount for unit, amount in found.items() if amount}


async def told(runs: ModuleType, case: Case, way: str) -> Told:
    held = Held()
    answer = await answered(lambda: runs.items(case, way, held), stop_at=held.reached if case is Case.STOPPED else None)
    assert held.cancelled is (case is Case.STOPPED)
    return answer


@pytest.mark.parametrize("way", WAYS)
async def test_a_text(runs: ModuleType, way: str) -> None:
    answer = await told(runs, Case.TEXT, way)
    assert (answer.status, answer.outcome, answer.fault, answer.text) == (200, Outcome.COMPLETED, None, ANSWER)
    assert answer.used == spent(runs)
    assert answer.used["output_tokens"] > 0


@pytest.mark.parametrize("way", WAYS)
async def test_two_tools_of_which_one_fails(runs: ModuleType, way: str) -> None:
    answer = await told(runs, Case.TOOLS, way)
    assert (answer.outcome, answer.fault, answer.reasoning) == (Outcome.COMPLETED, None, THOUGHT)
    assert answer.text == ("" if way == "stream" else LOOK) + ANSWER
    weather, broken = answer.call("weather"), answer.call("broken")
    assert (weather["state"], weather["input"]) == ("output-available", {"city": "Rome"})
    assert weather["output"] == {"city": "Rome", "degrees": 20, "wind": None}
    assert (broken["state"], broken["input"]) == ("output-error", {"city": "Atlantis"})
    assert BROKEN in broken["errorText"]
    steps = [part["type"] for part in answer.saved].count("step-start")
    assert steps == 2
    assert answer.used == spent(runs)


@pytest.mark.parametrize("way", WAYS)
async def test_a_stop_cancels_the_tool_and_charges_what_was_consumed(runs: ModuleType, way: str) -> None:
    answer = await told(runs, Case.STOPPED, way)
    assert (answer.outcome, answer.fault) == (Outcome.STOPPED, None)
    assert answer.parts[-1] == {"type": "abort"}
    if way != "stream":  # of which nothing comes before the last response
        assert answer.text == LOOK
        assert answer.call("weather")["state"] == "output-error"
        assert answer.used == spent(runs)


@pytest.mark.parametrize("way", WAYS)
async def test_a_provider_that_refuses_is_told_before_the_answer(runs: ModuleType, way: str) -> None:
    answer = await told(runs, Case.FAILS_FIRST, way)
    assert answer.outcome is Outcome.FAILED
    assert answer.status == (502 if way in CHUNKS else 503)
    assert answer.fault == ("provider_error" if way in CHUNKS else "provider_rate_limited")
    assert (answer.saved, answer.used) == ([], {})
    assert b"own" not in answer.body


@pytest.mark.parametrize("way", WAYS)
async def test_a_provider_that_breaks_off_is_told_in_the_answer(runs: ModuleType, way: str) -> None:
    answer = await told(runs, Case.FAILS_LATER, way)
    assert (answer.outcome, answer.fault) == (Outcome.FAILED, "provider_error")
    assert answer.text.endswith(ANSWER[:5])
    assert answer.call("weather")["state"] == "output-available"
    if runs.VERSION > 1 or way not in ("nodes", "stream"):  # whose streams tell of the response that failed too
        assert answer.used == spent(runs)
    assert all(answer.used[unit] >= amount for unit, amount in spent(runs).items())
    assert b"own" not in answer.body
