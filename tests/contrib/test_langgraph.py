"""What graphs of LangGraph's stream besides an agent's answer: interrupts, what nodes write, graphs within graphs."""

from __future__ import annotations

import inspect
from functools import partial
from types import ModuleType

import pytest

from streamguard import Outcome
from streamguard.contrib import langgraph
from tests.harness.tools import missing

from .guarded import ANSWER, answered

pytestmark = pytest.mark.anyio

MODES = ["messages", "updates"]
COST = {"input_tokens": 20, "output_tokens": 2, "total_tokens": 22}


@pytest.fixture
def graphs() -> ModuleType:
    """The graphs, with the library that they need."""
    from . import graphs  # it takes seconds

    return graphs


@pytest.mark.parametrize("way", ["updates", "values", "subgraphs", "events"])
async def test_an_interrupt_is_a_data_part(graphs: ModuleType, way: str) -> None:
    first, resumed = graphs.interrupted(way)
    answer = await answered(lambda: langgraph.graph_parts(first))
    assert (answer.outcome, answer.text) == (Outcome.COMPLETED, "")
    (asked,) = (part for part in answer.saved if part["type"] == "data-interrupt")
    assert asked["data"]["value"] == {"question": "Which city?"}
    assert asked["data"]["id"] == asked["id"]
    answer = await answered(lambda: langgraph.graph_parts(resumed))
    assert (answer.outcome, answer.text, answer.used) == (Outcome.COMPLETED, ANSWER, COST)


@pytest.mark.parametrize("mode", ["custom", ["custom", "messages"], ["updates", "custom"]], ids=str)
async def test_what_a_node_writes_is_a_data_part(graphs: ModuleType, mode: str | list[str]) -> None:
    stream = graphs.writing().astream(graphs.ASKED, stream_mode=mode)
    answer = await answered(lambda: langgraph.graph_parts(stream, stream_mode=mode if isinstance(mode, str) else None))
    progress, anything = (part for part in answer.saved if part["type"].startswith("data-"))
    assert progress == {"type": "data-progress", "id": "p", "data": {"percent": 50}}
    assert anything == {"type": "data-custom", "data": {"anything": [1, 2]}}
    assert answer.text == ("" if mode == "custom" else "Done.")


async def test_texts_of_models_that_answer_at_once_are_kept_apart(graphs: ModuleType) -> None:
    stream = graphs.parallel().astream(graphs.ASKED, stream_mode=MODES)
    answer = await answered(lambda: langgraph.graph_parts(stream))
    texts = [part["text"] for part in answer.saved if part["type"] == "text"]
    assert sorted(texts) == ["left0 left1 left2 ", "right0 right1 right2 "]


@pytest.mark.parametrize("subgraphs", [True, False])
async def test_a_graph_within_a_graph_answers_once(graphs: ModuleType, subgraphs: bool) -> None:
    stream = graphs.with_subgraph().astream(graphs.ASKED, stream_mode=[*MODES, "values"], subgraphs=subgraphs)
    answer = await answered(lambda: langgraph.graph_parts(stream))
    assert (answer.text, answer.used) == (ANSWER, COST)


async def test_a_history_that_is_rewritten_is_not_told_again(graphs: ModuleType) -> None:
    from langchain_core.messages import AIMessage, HumanMessage

    history = [HumanMessage("Hello"), AIMessage("Hello to you."), HumanMessage("The weather?")]
    for modes in (MODES, ["updates"], ["values"]):
        stream = graphs.rewriting().astream({"messages": history}, stream_mode=modes)
        answer = await answered(partial(langgraph.graph_parts, stream))
        assert (answer.text, answer.used) == (ANSWER, COST)


@pytest.mark.parametrize("modes", [MODES, ["messages", "values"]], ids=str)
async def test_a_graph_without_messages_in_its_state(graphs: ModuleType, modes: list[str]) -> None:
    stream = graphs.plain().astream({"city": "Rome"}, stream_mode=modes)
    answer = await answered(lambda: langgraph.graph_parts(stream))
    assert (answer.text, answer.used) == (ANSWER, COST)


async def test_version_2_of_what_a_graph_streams(graphs: ModuleType) -> None:
    graph = graphs.with_subgraph()
    if "version" not in inspect.signature(graph.astream).parameters:
        missing("version 2 of a graph's stream needs a later langgraph: pip install --upgrade langgraph")
    stream = graph.astream(graphs.ASKED, stream_mode=[*MODES, "values"], subgraphs=True, version="v2")
    answer = await answered(lambda: langgraph.graph_parts(stream))
    assert (answer.text, answer.used) == (ANSWER, COST)
