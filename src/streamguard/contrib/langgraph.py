"""LangGraph: a graph's stream as UI message parts. Stored messages become a graph's by `langchain.messages`.

```python
@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: ChatBody) -> AsyncIterator[object]:
    state = {"messages": langchain.messages(body.messages)}
    return langgraph.graph_parts(graph.astream(state, stream_mode=["messages", "updates"]))
```

Tested with langgraph 1.0.0 and 1.2.24, and `create_agent` of langchain 1.0.0 and 1.5.2.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from typing import Final

from ._langchain_events import StreamReader, messages_in, parts_of
from ._langchain_messages import is_message
from ._model_streams import field_of, text_in
from ._ui_parts import Item

__all__ = ["graph_parts"]

_MODES: Final = frozenset({"messages", "updates", "values", "custom", "tasks", "checkpoints", "debug"})
_INTERRUPT: Final = "__interrupt__"


def graph_parts(source: AsyncIterable[object], *, stream_mode: str | None = None) -> AsyncIterator[Item]:
    """The parts of a graph's run, and what its models consumed, once for each message.

    Texts come from the mode `messages`; `updates` and `values` tell whole messages, and only those that were not told
    before. Results of tools become results of their calls. An interrupt, which `updates` and `values` tell, becomes a
    part of type `data-interrupt` with `id` and `value`. What a node writes to the mode `custom` becomes the part that
    it is, if it is a dict with a type that begins with `data-`, and else the data of a part of type `data-custom`.
    Other modes are left out.

    Closing them closes the stream, which cancels the nodes that are running. Exceptions are raised as they
    are.

    Args:
        source: what `graph.astream(…)` returned, with any modes, with subgraphs or without, in version 1 or 2; or
            `graph.astream_events(…, version="v2")`.
        stream_mode: the mode, where `astream` was given `values` or `custom` alone: what these give does not tell
            their mode.

    Raises:
        InvalidPartError: the stream has something that no mode gives.
        FaultError: a provider's stream ended without its end, which LangChain takes for a whole answer.
    """
    return parts_of(source, _GraphReader(stream_mode))


class _GraphReader(StreamReader):
    def __init__(self, stream_mode: str | None) -> None:
        super().__init__()
        self._mode = stream_mode
        self._began: set[object] = set()
        """The graphs whose first state was seen, by namespace."""
        self._interrupts: set[str] = set()

    def read(self, event: object) -> Iterator[Item]:
        namespace: object = ()
        mode = self._mode
        if isinstance(event, Mapping) and event.get("type") in _MODES and "ns" in event and "data" in event:
            namespace, mode, event = event["ns"], str(event["type"]), event["data"]  # version 2
        else:
            if isinstance(event, tuple) and event and isinstance(event[0], tuple):
                namespace, event = event[0], event[1] if len(event) == 2 else event[1:]
            if isinstance(event, tuple) and len(event) == 2 and isinstance(event[0], str) and event[0] in _MODES:
                mode, event = event
        mode = mode or _mode_of(event)
        if mode == "messages" and isinstance(event, tuple):
            yield from self.parts.add(event[0])
        elif mode == "updates" and isinstance(event, Mapping):
            yield from self._update(event)
        elif mode == "values":
            yield from self._values(event, namespace)
        elif mode == "custom":
            yield _custom(event)
        elif mode is None:
            yield from super().read(event)
            if isinstance(event, Mapping) and event.get("event") == "on_chain_stream":
                yield from self._interrupted(field_of(event.get("data"), "chunk"))

    def _update(self, update: Mapping[object, object]) -> Iterator[Item]:
        yield from self._interrupted(update)
        for node, changes in update.items():
            if node == _INTERRUPT:
                continue
            found = list(messages_in(changes))
            if any(text_in(message, "type") == "remove" for message in found):
                continue  # the history is written anew
            for message in found:
                yield from self.parts.add(message)

    def _values(self, state: object, namespace: object) -> Iterator[Item]:
        first = namespace not in self._began
        self._began.add(namespace)
        yield from self._interrupted(state)
        for message in messages_in(state if isinstance(state, Mapping) else vars(state)):
            if first:
                self.parts.known(message)
            else:
                yield from self.parts.add(message)

    def _interrupted(self, update: object) -> Iterator[Item]:
        interrupts = update.get(_INTERRUPT) if isinstance(update, Mapping) else None
        for interrupt in interrupts if isinstance(interrupts, (list, tuple)) else ():
            name = text_in(interrupt, "id")
            if name in self._interrupts:  # told by the subgraph and by the graph around it
                continue
            self._interrupts.add(name)
            data = {"id": name, "value": field_of(interrupt, "value")}
            yield {"type": "data-interrupt", "id": name, "data": data}


def _mode_of(event: object) -> str | None:
    """The mode of what a stream of one mode gave; None for an event of `astream_events`, and for what is unknown."""
    if isinstance(event, tuple) and len(event) == 2 and is_message(event[0]) and isinstance(event[1], Mapping):
        return "messages"
    if not isinstance(event, Mapping) or ("event" in event and "data" in event):
        return None
    if any(is_message(one) for value in event.values() if isinstance(value, list) for one in value):
        return "values"
    return "updates"


def _custom(written: object) -> dict[str, object]:
    if isinstance(written, Mapping) and str(written.get("type", "")).startswith("data-") and "data" in written:
        return {str(name): value for name, value in written.items()}
    return {"type": "data-custom", "data": written}
