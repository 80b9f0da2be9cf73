"""Names the adapter for an object of a model library that an endpoint yielded as it came.

The libraries are recognised by the modules of their classes, none is imported. Source: `openai` 1.80 to 3.57,
`anthropic` 0.60 to 2.14, `litellm` 1.84 to 1.110, `langchain-core` 1, `langgraph` 1, `pydantic-ai` 2, `openai-agents`
0.24.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from ..errors import InvalidPartError

__all__ = ["ADAPTERS", "adapter_for", "refusal"]

ADAPTERS: Final[Mapping[str, str]] = {
    "openai.types.responses": "openai.responses_parts",
    "openai.lib.streaming.responses": "openai.responses_parts",
    "openai.types.chat": "openai.chat_parts",
    "openai.lib.streaming.chat": "openai.chat_parts",
    "openai": "openai.chat_parts or openai.responses_parts",
    "anthropic": "anthropic.message_parts",
    "litellm": "litellm.completion_parts",
    "langgraph": "langgraph.graph_parts",
    "langchain": "langchain.stream_parts",
    "langchain_core": "langchain.stream_parts",
    "pydantic_ai.ui": "pydantic_ai.adapter_parts",
    "pydantic_ai": "pydantic_ai.agent_parts",
    "agents.stream_events": "openai_agents.run_parts",
    "agents.items": "openai_agents.run_parts",
    "agents.result": "openai_agents.run_parts",
}
"""By module, or by the package that it is in: the adapter of `streamguard.contrib` for streams of its objects."""

_GRAPH: Final = ADAPTERS["langgraph"]
_CHAIN: Final = ADAPTERS["langchain"]
_DEPTH: Final = 4
_WIDTH: Final = 8
"""How deep and how widely containers are searched: LangGraph's `(namespace, (mode, {node: {"messages": […]}}))`."""


def adapter_for(item: object) -> str | None:
    """The adapter for streams of such items, as a name below `streamguard.contrib`; None for an object of no library
    that is known here.

    LangChain's events and what LangGraph streams are containers: what they hold tells.
    """
    adapter = _adapter_of(type(item))
    if adapter is not None or isinstance(item, (str, bytes, bytearray, memoryview)):
        return adapter
    if isinstance(item, Mapping) and str(item.get("event")).startswith("on_") and "run_id" in item:
        return _CHAIN  # an event of `astream_events`
    held = _held_class(item, _DEPTH)
    within = None if held is None else _adapter_of(held)
    return _GRAPH if within == _CHAIN else within


def refusal(item: object, protocol: str, expected: str, otherwise: str = "") -> InvalidPartError:
    """The error for an item that the protocol cannot carry.

    Args:
        item: the item.
        protocol: the protocol's name.
        expected: says what the protocol carries, up to the comma: "a plain endpoint yields str".
        otherwise: more advice, for an item of no library that is known here.
    """
    adapter, name = adapter_for(item), type(item).__name__
    if adapter is None:
        return InvalidPartError(f"{expected}, not {name}{otherwise}", protocol=protocol)
    held = _held_class(item, _DEPTH)
    if held is not None:
        name = f"{name} of {_full_name(held)}"
    elif not isinstance(item, Mapping):
        name = _full_name(type(item))
    where = "" if protocol == "ui-message" else ", in an endpoint with protocol='ui-message'"
    return InvalidPartError(
        f"{expected}, not {name}: give the library's stream to streamguard.contrib.{adapter}, and yield the parts that "
        f"come from there{where}",
        protocol=protocol,
    )


def _adapter_of(kind: type) -> str | None:
    if kind.__name__ == "ServerSentEvent":  # openai's and anthropic's own, which other protocols take
        return None
    module = kind.__module__
    while module:
        if module in ADAPTERS:
            return ADAPTERS[module]
        module = module.rpartition(".")[0]
    return None


def _held_class(item: object, depth: int) -> type | None:
    """The class of the first object of a library in a container; None without one."""
    if isinstance(item, Mapping):
        values: Iterable[object] = item.values()
    elif isinstance(item, (tuple, list)):
        values = item
    else:
        return None
    for value in islice(values, _WIDTH):
        if _adapter_of(type(value)) is not None:
            return type(value)
        held = _held_class(value, depth - 1) if depth else None
        if held is not None:
            return held
    return None


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
