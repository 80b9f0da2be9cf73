"""An object of a model library, yielded as it came, is refused with its class and the adapter that takes its stream."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final

import pytest

from streamguard import InvalidPartError
from streamguard.wire import protocol_named
from streamguard.wire.adapters import ADAPTERS

from .provider_chats import NOISE_OF_LIBRARIES

pytestmark = pytest.mark.filterwarnings(*NOISE_OF_LIBRARIES)


def chat_chunk() -> object:
    from openai.types.chat import ChatCompletionChunk

    return ChatCompletionChunk(id="c", choices=[], created=1, model="m", object="chat.completion.chunk")


def responses_event() -> object:
    from openai.types.responses import ResponseTextDeltaEvent

    return ResponseTextDeltaEvent.construct(type="response.output_text.delta", delta="Hello")


def anthropic_event() -> object:
    from anthropic.types import RawMessageStopEvent

    return RawMessageStopEvent(type="message_stop")


def litellm_chunk() -> object:
    from litellm import ModelResponseStream

    return ModelResponseStream()


def langchain_chunk() -> object:
    from langchain_core.messages import AIMessageChunk

    return AIMessageChunk(content="Hello")


def langchain_event() -> object:
    return {"event": "on_chat_model_stream", "run_id": "r", "data": {"chunk": langchain_chunk()}, "name": "m"}


def first_langchain_event() -> object:
    return {"event": "on_chain_start", "run_id": "r", "data": {"input": "Hello"}, "name": "m", "parent_ids": []}


def graph_messages() -> object:
    return (langchain_chunk(), {"langgraph_node": "model"})


def graph_modes() -> object:
    return ("messages", graph_messages())


def graph_subgraphs() -> object:
    return (("agent:1",), "updates", {"model": {"messages": [langchain_chunk()]}})


def graph_updates() -> object:
    return {"model": {"messages": [langchain_chunk()]}}


def graph_typed() -> object:
    return {"type": "messages", "ns": (), "data": graph_messages()}


def pydantic_ai_event() -> object:
    from pydantic_ai.messages import PartDeltaEvent, TextPartDelta

    return PartDeltaEvent(index=0, delta=TextPartDelta("Hello"))


def agents_event() -> object:
    from agents import RawResponsesStreamEvent
    from openai.types.responses import ResponseTextDeltaEvent

    event = ResponseTextDeltaEvent.construct(type="response.output_text.delta", delta="Hello")
    return RawResponsesStreamEvent(data=event)


OBJECTS: Final[dict[Callable[[], object], tuple[str, str]]] = {
    chat_chunk: ("openai.types.chat.chat_completion_chunk.ChatCompletionChunk", "openai.chat_parts"),
    responses_event: ("ResponseTextDeltaEvent", "openai.responses_parts"),
    anthropic_event: ("anthropic.types.raw_message_stop_event.RawMessageStopEvent", "anthropic.message_parts"),
    litellm_chunk: ("litellm.types.utils.ModelResponseStream", "litellm.completion_parts"),
    langchain_chunk: ("langchain_core.messages.ai.AIMessageChunk", "langchain.stream_parts"),
    langchain_event: ("dict of langchain_core.messages.ai.AIMessageChunk", "langchain.stream_parts"),
    first_langchain_event: ("dict", "langchain.stream_parts"),
    graph_messages: ("tuple of langchain_core.messages.ai.AIMessageChunk", "langgraph.graph_parts"),
    graph_modes: ("tuple of langchain_core.messages.ai.AIMessageChunk", "langgraph.graph_parts"),
    graph_subgraphs: ("tuple of langchain_core.messages.ai.AIMessageChunk", "langgraph.graph_parts"),
    graph_updates: ("dict of langchain_core.messages.ai.AIMessageChunk", "langgraph.graph_parts"),
    graph_typed: ("dict of langchain_core.messages.ai.AIMessageChunk", "langgraph.graph_parts"),
    pydantic_ai_event: ("pydantic_ai.messages.PartDeltaEvent", "pydantic_ai.agent_parts"),
    agents_event: ("agents.stream_events.RawResponsesStreamEvent", "openai_agents.run_parts"),
}


@pytest.mark.parametrize("protocol", ["ui-message", "plain", "opaque", "openai", "anthropic", "ui-message-raw"])
@pytest.mark.parametrize("make", OBJECTS, ids=lambda make: make.__name__)
def test_the_error_names_the_class_and_the_adapter(make: Callable[[], object], protocol: str) -> None:
    encoder = protocol_named(protocol).encoder(message_id="m", max_event_bytes=1 << 20)
    with pytest.raises(InvalidPartError) as raised:
        encoder.encode(make())
    kind, adapter = OBJECTS[make]
    assert f"{kind}: give the library's stream to streamguard.contrib.{adapter}," in str(raised.value)
    assert raised.value.protocol == protocol
    assert ("protocol='ui-message'" in str(raised.value)) is (protocol != "ui-message")


@pytest.mark.parametrize("protocol", ["ui-message", "plain", "opaque"])
def test_the_stream_itself_is_refused_alike(protocol: str) -> None:
    from openai import AsyncStream

    encoder = protocol_named(protocol).encoder(message_id="m", max_event_bytes=1 << 20)
    with pytest.raises(InvalidPartError, match=r"streamguard\.contrib\.openai\.chat_parts or openai\.responses_parts"):
        encoder.encode(object.__new__(AsyncStream))


def test_pydantic_ai_s_own_parts_are_parts() -> None:
    from pydantic_ai.ui.vercel_ai.response_types import TextDeltaChunk, TextStartChunk

    encoder = protocol_named("ui-message").encoder(message_id="m", max_event_bytes=1 << 20)
    assert encoder.encode(TextStartChunk(id="t"))
    assert encoder.encode(TextDeltaChunk(id="t", delta="Hello"))


def test_events_of_the_libraries_own_decoders_are_events() -> None:
    from anthropic._streaming import ServerSentEvent as AnthropicEvent
    from openai._streaming import ServerSentEvent as OpenAIEvent

    for event in (OpenAIEvent(event="e", data="Hello"), AnthropicEvent(event="e", data="Hello")):
        encoder = protocol_named("opaque").encoder(message_id="m", max_event_bytes=1 << 20)
        assert encoder.encode(event) == [b"event: e\ndata: Hello\n\n"]


def test_other_objects_are_refused_as_ever() -> None:
    encoder = protocol_named("ui-message").encoder(message_id="m", max_event_bytes=1 << 20)
    with pytest.raises(InvalidPartError, match="not tuple; server-sent events of your own"):
        encoder.encode(("messages", {"langgraph_node": "model"}))


@pytest.mark.parametrize("adapter", sorted({one for named in ADAPTERS.values() for one in named.split(" or ")}))
def test_the_adapters_that_are_named_exist(adapter: str) -> None:
    module, _, name = adapter.partition(".")
    assert callable(getattr(importlib.import_module(f"streamguard.contrib.{module}"), name))
