"""What LangChain's models and runnables stream besides text and calls that are well formed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import pytest

from streamguard import Outcome, Usage
from streamguard.contrib import langchain

from .guarded import Told, answered

pytestmark = pytest.mark.anyio


async def stream(items: Iterable[object]) -> AsyncIterator[object]:
    for item in items:
        yield item


async def told(*items: object) -> Told:
    return await answered(lambda: langchain.stream_parts(stream(items)))


async def test_a_runnable_that_streams_text() -> None:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.runnables import RunnableLambda

    def exclaim(text: str) -> str:
        return f"{text}!"

    chain = RunnableLambda(exclaim) | StrOutputParser()
    answer = await answered(lambda: langchain.stream_parts(chain.astream("Hello")))
    assert (answer.outcome, answer.text) == (Outcome.COMPLETED, "Hello!")


async def test_reasoning_beside_the_content() -> None:
    """DeepSeek's and others' way, before there were content blocks."""
    from langchain_core.messages import AIMessageChunk

    answer = await told(
        AIMessageChunk(content="", additional_kwargs={"reasoning_content": "Let me "}, id="a"),
        AIMessageChunk(content="", additional_kwargs={"reasoning_content": "think."}, id="a"),
        AIMessageChunk(content="Yes.", id="a"),
    )
    assert (answer.reasoning, answer.text) == ("Let me think.", "Yes.")


async def test_anthropics_own_blocks() -> None:
    from langchain_core.messages import AIMessageChunk

    answer = await told(
        AIMessageChunk(content=[{"type": "thinking", "thinking": "Hm.", "index": 0}], id="a"),
        AIMessageChunk(content=[{"type": "text", "text": "Yes.", "index": 1}], id="a"),
    )
    assert (answer.reasoning, answer.text) == ("Hm.", "Yes.")


async def test_arguments_that_are_no_json_fail_the_call() -> None:
    from langchain_core.messages import AIMessageChunk

    answer = await told(
        AIMessageChunk(
            content="", tool_call_chunks=[{"name": "weather", "args": '{"city": ', "id": "c1", "index": 0}], id="a"
        ),
        AIMessageChunk(content="", id="a", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
    )
    call = answer.call("weather")
    assert (answer.outcome, call["state"]) == (Outcome.COMPLETED, "output-error")


async def test_calls_that_come_whole_and_without_an_index() -> None:
    """As Google's models send them."""
    from langchain_core.messages import AIMessageChunk, ToolMessage

    answer = await told(
        AIMessageChunk(
            content="",
            tool_call_chunks=[
                {"name": "weather", "args": '{"city": "Rome"}', "id": "c1", "index": None},
                {"name": "time", "args": "{}", "id": "c2", "index": None},
            ],
            id="a",
        ),
        ToolMessage("sunny", tool_call_id="c1", name="weather"),
        ToolMessage("noon", tool_call_id="c2", name="time"),
        AIMessageChunk(content="Sunny, at noon.", id="b"),
    )
    assert (answer.call("weather")["input"], answer.call("weather")["output"]) == ({"city": "Rome"}, "sunny")
    assert (answer.call("time")["input"], answer.call("time")["output"]) == ({}, "noon")
    assert answer.text == "Sunny, at noon."


async def test_what_the_provider_did_itself_and_what_it_cites() -> None:
    from langchain_core.messages import AIMessage

    blocks: list[str | dict[object, object]] = [
        {"type": "server_tool_call", "id": "s1", "name": "web_search", "args": {"query": "Rome"}},
        {"type": "server_tool_result", "tool_call_id": "s1", "status": "success", "output": ["a page"]},
        {
            "type": "text",
            "text": "Rome.",
            "annotations": [{"type": "citation", "url": "https://example.org", "title": "A page"}],
        },
        {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
    ]
    answer = await told(AIMessage(content=blocks, id="a", response_metadata={"output_version": "v1"}))
    search = answer.call("web_search")
    assert (search["state"], search["providerExecuted"], search["output"]) == ("output-available", True, ["a page"])
    (source,) = (part for part in answer.saved if part["type"] == "source-url")
    assert (source["url"], source["title"]) == ("https://example.org", "A page")
    (file,) = (part for part in answer.saved if part["type"] == "file")
    assert (file["url"], file["mediaType"]) == ("data:image/png;base64,AAAA", "image/png")


async def test_tools_that_no_model_called() -> None:
    from langchain_core.tools import tool

    @tool
    async def weather(city: str) -> dict[str, object]:
        """The weather."""
        if city == "Atlantis":
            raise ValueError("no such place")
        return {"city": city}

    answer = await answered(lambda: langchain.stream_parts(weather.astream_events({"city": "Rome"}, version="v2")))
    call = answer.call("weather")
    assert (call["input"], call["output"]) == ({"city": "Rome"}, {"city": "Rome"})
    answer = await answered(lambda: langchain.stream_parts(weather.astream_events({"city": "Atlantis"}, version="v2")))
    assert (answer.outcome, answer.call("weather")["state"]) == (Outcome.FAILED, "output-error")


async def test_usage_that_is_told_twice_is_charged_once() -> None:
    from langchain_core.messages import AIMessage, AIMessageChunk

    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    items = [
        item
        async for item in langchain.stream_parts(
            stream(
                [
                    AIMessageChunk(content="Yes.", id="a"),
                    AIMessageChunk(content="", id="a", usage_metadata=usage),  # type: ignore[arg-type]
                    AIMessage(content="Yes.", id="a", usage_metadata=usage),
                ]
            )
        )
    ]
    assert [item for item in items if isinstance(item, Usage)] == [Usage(usage)]
    assert [item["delta"] for item in items if isinstance(item, dict) and "delta" in item] == ["Yes."]


async def test_usage_after_the_last_chunk_is_charged() -> None:
    from langchain_core.messages import AIMessageChunk

    answer = await told(
        AIMessageChunk(content="Yes.", id="a"),
        AIMessageChunk(content="", id="a", chunk_position="last"),
        AIMessageChunk(content="", id="a", usage_metadata={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}),
        AIMessageChunk(content="", id="a", chunk_position="last"),
    )
    assert (answer.text, answer.used) == ("Yes.", {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15})


async def test_an_object_that_is_nothing_of_langchains() -> None:
    answer = await told(object())
    assert (answer.status, answer.fault) == (500, "internal")
