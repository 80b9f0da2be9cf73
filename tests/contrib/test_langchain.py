"""LangChain's and LangGraph's streams through their adapters: what the client is sent, what is saved and charged."""

from __future__ import annotations

import json
from types import ModuleType

import pytest

from streamguard import Outcome

from .guarded import ANSWER, BROKEN, LOOK, THOUGHT, Case, Held, Told, answered

pytestmark = pytest.mark.anyio

WAYS = ["loop", "langchain events", "events", "messages", "updates", "values", "modes", "subgraphs"]
WAYS += ["subgraphs, one mode"]
WHOLE = ("updates", "values")
"""Ways that tell whole messages only, each after its node."""

FIRST = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
BOTH = {"input_tokens": 30, "output_tokens": 7, "total_tokens": 37}


@pytest.fixture
def runs() -> ModuleType:
    """The cases, with the library that they need."""
    from . import langchain_runs

    return langchain_runs


async def told(runs: ModuleType, case: Case, way: str) -> Told:
    held = Held()
    answer = await answered(lambda: runs.items(case, way, held), stop_at=held.reached if case is Case.STOPPED else None)
    assert held.cancelled is (case is Case.STOPPED)
    return answer


@pytest.mark.parametrize("way", WAYS)
async def test_a_text(runs: ModuleType, way: str) -> None:
    answer = await told(runs, Case.TEXT, way)
    assert (answer.status, answer.outcome, answer.fault, answer.text) == (200, Outcome.COMPLETED, None, ANSWER)
    assert answer.used == {"input_tokens": 20, "output_tokens": 2, "total_tokens": 22}


@pytest.mark.parametrize("way", WAYS)
async def test_two_tools_of_which_one_fails(runs: ModuleType, way: str) -> None:
    answer = await told(runs, Case.TOOLS, way)
    assert (answer.outcome, answer.fault, answer.reasoning) == (Outcome.COMPLETED, None, THOUGHT)
    assert answer.text == LOOK + ANSWER
    weather, broken = answer.call("weather"), answer.call("broken")
    assert (weather["state"], weather["input"]) == ("output-available", {"city": "Rome"})
    assert json.loads(weather["output"]) == {"city": "Rome", "degrees": 20}  # as the model reads it
    assert (broken["state"], broken["input"]) == ("output-error", {"city": "Atlantis"})
    assert broken["errorText"] == BROKEN
    assert [part["type"] for part in answer.saved].count("step-start") == 2
    assert answer.used == BOTH


@pytest.mark.parametrize("way", WAYS)
async def test_a_stop_cancels_the_tool_and_charges_what_was_consumed(runs: ModuleType, way: str) -> None:
    answer = await told(runs, Case.STOPPED, way)
    assert (answer.outcome, answer.fault) == (Outcome.STOPPED, None)
    assert answer.parts[-1] == {"type": "abort"}
    assert answer.text == LOOK
    assert answer.call("weather")["state"] == "output-error"
    assert answer.used == FIRST


@pytest.mark.parametrize("way", WAYS)
async def test_a_provider_that_refuses_is_told_before_the_answer(runs: ModuleType, way: str) -> None:
    answer = await told(runs, Case.FAILS_FIRST, way)
    assert (answer.status, answer.outcome, answer.fault) == (503, Outcome.FAILED, "provider_rate_limited")
    assert (answer.saved, answer.used) == ([], {})
    assert b"own" not in answer.body


@pytest.mark.parametrize("way", WAYS)
async def test_a_provider_that_breaks_off_is_told_in_the_answer(runs: ModuleType, way: str) -> None:
    answer = await told(runs, Case.FAILS_LATER, way)
    assert (answer.outcome, answer.fault) == (Outcome.FAILED, "provider_aborted")
    assert answer.text == LOOK + ("" if way in WHOLE else ANSWER[:5])
    assert answer.call("weather")["state"] == "output-available"
    assert answer.used == FIRST
    assert b"own" not in answer.body
