"""Runs of OpenAI's Agents SDK through its adapter: what the client is sent, what is saved, what is charged."""

from __future__ import annotations

import ast
from types import ModuleType

import pytest

from streamguard import Outcome

from .guarded import ANSWER, BROKEN, LOOK, THOUGHT, Case, Held, Told, answered

pytestmark = pytest.mark.anyio

FIRST = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


@pytest.fixture
def runs() -> ModuleType:
    """The cases, with the library that they need."""
    from . import openai_agents_runs  # it takes seconds

    return openai_agents_runs


async def told(runs: ModuleType, case: Case) -> Told:
    held = Held()
    answer = await answered(lambda: runs.items(case, "", held), stop_at=held.reached if case is Case.STOPPED else None)
    assert held.cancelled is (case is Case.STOPPED)
    return answer


async def test_a_text(runs: ModuleType) -> None:
    answer = await told(runs, Case.TEXT)
    assert (answer.status, answer.outcome, answer.fault, answer.text) == (200, Outcome.COMPLETED, None, ANSWER)
    assert answer.used == {"input_tokens": 20, "output_tokens": 2, "total_tokens": 22}


async def test_two_tools_of_which_one_fails(runs: ModuleType) -> None:
    answer = await told(runs, Case.TOOLS)
    assert (answer.outcome, answer.fault, answer.reasoning) == (Outcome.COMPLETED, None, THOUGHT)
    assert answer.text == LOOK + ANSWER
    weather, broken = answer.call("weather"), answer.call("broken")
    assert (weather["state"], weather["input"]) == ("output-available", {"city": "Rome"})
    output = weather["output"]
    assert (ast.literal_eval(output) if isinstance(output, str) else output) == {"city": "Rome", "degrees": 20}
    assert (broken["state"], broken["input"]) == ("output-error", {"city": "Atlantis"})
    assert BROKEN in broken["errorText"] or "try again" in broken["errorText"]  # as the SDK tells the model
    assert [part["type"] for part in answer.saved].count("step-start") == 2
    assert answer.used == {"input_tokens": 30, "output_tokens": 7, "total_tokens": 37}


async def test_a_stop_cancels_the_tool_and_charges_what_was_consumed(runs: ModuleType) -> None:
    answer = await told(runs, Case.STOPPED)
    assert (answer.outcome, answer.fault, answer.text) == (Outcome.STOPPED, None, LOOK)
    assert answer.parts[-1] == {"type": "abort"}
    assert answer.call("weather")["state"] == "output-error"
    assert answer.used == FIRST


async def test_a_provider_that_refuses_is_told_before_the_answer(runs: ModuleType) -> None:
    answer = await told(runs, Case.FAILS_FIRST)
    assert (answer.status, answer.outcome, answer.fault) == (503, Outcome.FAILED, "provider_rate_limited")
    assert (answer.saved, answer.used) == ([], {})
    assert b"own" not in answer.body


async def test_a_provider_that_breaks_off_is_told_in_the_answer(runs: ModuleType) -> None:
    answer = await told(runs, Case.FAILS_LATER)
    assert (answer.outcome, answer.fault) == (Outcome.FAILED, "provider_aborted")
    assert answer.text == LOOK + ANSWER[:5]
    assert answer.call("weather")["state"] == "output-available"
    assert answer.used == FIRST
    assert b"own" not in answer.body


async def test_a_handoff_is_a_call_and_tells_the_new_agent(runs: ModuleType) -> None:
    answer = await answered(runs.handing_over)
    assert (answer.outcome, answer.text) == (Outcome.COMPLETED, ANSWER)
    assert answer.call("transfer_to_weather")["state"] == "output-available"
    (agent,) = (part for part in answer.saved if part["type"] == "data-agent")
    assert agent["data"] == {"name": "Weather"}
    assert answer.used == {"input_tokens": 24, "output_tokens": 3, "total_tokens": 27}


async def test_a_run_that_takes_too_many_turns_fails_with_what_it_has(runs: ModuleType) -> None:
    answer = await answered(lambda: runs.without_end(1))
    assert (answer.outcome, answer.fault, answer.text) == (Outcome.FAILED, "internal", LOOK)
    assert answer.used == FIRST
