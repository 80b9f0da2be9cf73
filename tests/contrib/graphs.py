"""Graphs of LangGraph's that do what an agent does not. It imports the library: import it in fixtures only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypedDict

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from .guarded import Case
from .langchain_runs import ScriptedModel

__all__ = ["asking", "interrupted", "parallel", "plain", "rewriting", "with_subgraph", "writing"]

ASKED: dict[str, list[BaseMessage]] = {"messages": [HumanMessage("The weather?")]}

Graph = Any
"""LangGraph's types change between versions."""


async def answer(state: MessagesState) -> dict[str, list[BaseMessage]]:
    """A node in which a model answers."""
    return {"messages": [await ScriptedModel(case=Case.TEXT).ainvoke(state["messages"])]}


def asking() -> Graph:
    """A graph that asks its user something."""

    async def ask(state: MessagesState) -> dict[str, list[BaseMessage]]:
        told = interrupt({"question": "Which city?"})
        return {"messages": [HumanMessage(f"In {told}.")]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_node("answer", answer)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "answer")
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=InMemorySaver())


def interrupted(way: str) -> tuple[AsyncIterator[object], AsyncIterator[object]]:
    """Streams of a run that is interrupted, and of the run that resumes it."""
    graph, config = asking(), {"configurable": {"thread_id": "t1"}}
    mode: Any = ["messages", "values"] if way == "values" else ["messages", "updates"]

    def run(given: object) -> AsyncIterator[object]:
        stream: AsyncIterator[object] = (
            graph.astream_events(given, config, version="v2")
            if way == "events"
            else graph.astream(given, config, stream_mode=mode, subgraphs=way == "subgraphs")
        )
        return stream

    return run(ASKED), run(Command(resume="Rome"))


def writing() -> Graph:
    """A graph whose node writes to the stream."""

    async def write(state: MessagesState) -> dict[str, list[BaseMessage]]:
        writer = get_stream_writer()
        writer({"type": "data-progress", "id": "p", "data": {"percent": 50}})
        writer({"anything": [1, 2]})
        return {"messages": [AIMessage("Done.")]}

    graph = StateGraph(MessagesState)
    graph.add_node("write", write)
    graph.add_edge(START, "write")
    graph.add_edge("write", END)
    return graph.compile()


def parallel() -> Graph:
    """A graph in which two models answer at the same time, word by word in turns."""
    turn = asyncio.Condition()
    said: list[str] = []

    def node(name: str, other: str) -> Any:
        async def speak(state: MessagesState) -> dict[str, list[BaseMessage]]:
            return {"messages": [await TakingTurns(name=name, other=other, turn=turn, said=said).ainvoke("Go")]}

        return speak

    graph = StateGraph(MessagesState)
    for name, other in (("left", "right"), ("right", "left")):
        graph.add_node(name, node(name, other))
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    return graph.compile()


class TakingTurns(ScriptedModel):
    """Says its name in pieces, each after a piece of the other model's."""

    name: str = ""
    other: str
    turn: Any
    said: Any

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> AsyncIterator[Any]:
        from langchain_core.messages import AIMessageChunk
        from langchain_core.outputs import ChatGenerationChunk

        for number in range(3):
            async with self.turn:
                last = number * 2 + (self.name == "right")
                await self.turn.wait_for(lambda last=last: len(self.said) == last)
                self.said.append(self.name)
                self.turn.notify_all()
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"{self.name}{number} "))


def with_subgraph() -> Graph:
    """A graph in which a graph answers."""
    inner = StateGraph(MessagesState)
    inner.add_node("answer", answer)
    inner.add_edge(START, "answer")
    inner.add_edge("answer", END)
    outer = StateGraph(MessagesState)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    outer.add_edge("inner", END)
    return outer.compile()


def rewriting() -> Graph:
    """A graph that answers, and then shortens its history."""

    async def shorten(state: MessagesState) -> dict[str, list[BaseMessage]]:
        first, *rest = state["messages"]
        return {"messages": [RemoveMessage(id=str(first.id)), *rest]}

    graph = StateGraph(MessagesState)
    graph.add_node("shorten", shorten)
    graph.add_node("answer", answer)
    graph.add_edge(START, "shorten")
    graph.add_edge("shorten", "answer")
    graph.add_edge("answer", END)
    return graph.compile()


class _Plain(TypedDict):
    city: str
    answer: str


def plain() -> Graph:
    """A graph without messages in its state."""

    async def look(state: _Plain) -> Mapping[str, str]:
        message = await ScriptedModel(case=Case.TEXT).ainvoke(state["city"])
        return {"answer": str(message.content)}

    graph = StateGraph(_Plain)
    graph.add_node("look", look)
    graph.add_edge(START, "look")
    graph.add_edge("look", END)
    return graph.compile()
