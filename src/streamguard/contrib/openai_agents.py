"""OpenAI Agents SDK: an agent's run as UI message parts, and stored messages as the input of a run.

```python
@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: ChatBody) -> AsyncIterator[object]:
    return openai_agents.run_parts(Runner.run_streamed(agent, openai_agents.input_items(body.messages)))
```

Tested with openai-agents 0.6.9 and 0.24.0. Earlier versions wait for a tool to end when their stream is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from ..decoding import DAMAGE, read_json
from ..values import Usage
from ._model_streams import EventReader, ModelItems, field_of, items_of, text_in
from ._ui_parts import Item, Part, UsageMeter
from .openai.responses import ResponsesReader
from .openai.responses_input import responses_input

if TYPE_CHECKING:
    from agents import RunResultStreaming
    from agents.items import TResponseInputItem

__all__ = ["input_items", "run_parts"]

_FAILED: Final = "An error occurred while running the tool"
"""How the text begins that the SDK gives to the model, by default, when a tool raised an exception."""

_LAST: Final = frozenset({"response.completed", "response.incomplete"})
"""Events after which a response has no other."""

_CALLS: Final = frozenset({"tool_called", "handoff_requested", "tool_search_called"})
_OUTPUTS: Final = frozenset({"tool_output", "handoff_occured", "handoff_occurred", "tool_search_output_created"})


def run_parts(run: RunResultStreaming) -> AsyncIterator[Item]:
    """The parts of a run, and what it consumed: texts, reasoning, calls of tools with their results, handoffs.

    A handoff is a call whose result names the new agent; a part of type `data-agent` with its `name` follows. A tool
    failed if its result is the SDK's default text for a tool that raised an exception; what a `failure_error_function`
    of your own says is a result like any other.

    Closing them, as a stop does, cancels the run and the tools that it is calling. The run's own exceptions
    are raised as they are. What the responses that came had consumed is charged then too.

    Args:
        run: what `Runner.run_streamed(…)` returned. It has begun then: closing the parts ends it, also if none was
            asked for.
    """
    return ModelItems(_run_parts(run), partial(_end, run))


async def _run_parts(run: RunResultStreaming) -> AsyncIterator[Item]:
    reader = _RunReader(run)
    events = items_of(cast("AsyncIterable[object]", run.stream_events()), reader)
    try:
        async for item in events:
            yield item
    except Exception:
        for item in reader.consumed():
            yield item
        raise
    finally:
        if not run.is_complete:
            run.cancel()
        await cast("AsyncGenerator[Item]", events).aclose()
        await _ended(run)
    for item in reader.consumed():
        yield item


def input_items(ui_messages: Iterable[object]) -> list[TResponseInputItem]:
    """Stored UI messages as the input of a run; see `openai.responses_input`, which has the same items.

    Args:
        ui_messages: as the client sends them, or as the guard's message store gives them back.

    Raises:
        ValueError: something among them is no UI message.
    """
    return responses_input(ui_messages)


async def _end(run: RunResultStreaming) -> None:
    """End a run whose events nobody reads."""
    if not run.is_complete:
        run.cancel()
    await _ended(run)


async def _ended(run: object) -> None:
    """Wait until the task of a run that was cancelled is over, and its tools with it."""
    task = getattr(run, "run_loop_task", None) or getattr(run, "_run_impl_task", None)
    if isinstance(task, asyncio.Task) and not task.done():
        await asyncio.wait({task})


class _RunReader(EventReader):
    """Reads the events of a run. The events of the models are those of the Responses API, whatever the provider."""

    def __init__(self, run: object) -> None:
        self._run = run
        self._meter = UsageMeter()
        self._response: ResponsesReader | None = None
        self._responses = 0
        self._over = False
        """Whether the last event of the response has come."""
        self._unanswered: set[str] = set()
        self._called: set[str] = set()
        self._agents = 0

    def consumed(self) -> list[Item]:
        """The `Usage` of what came since the last one."""
        usage = field_of(field_of(self._run, "context_wrapper"), "usage")
        details = field_of(usage, "output_tokens_details")
        return self._meter.reached(
            {
                "input_tokens": field_of(usage, "input_tokens"),
                "output_tokens": field_of(usage, "output_tokens"),
                "total_tokens": field_of(usage, "total_tokens"),
                "cached_input_tokens": field_of(field_of(usage, "input_tokens_details"), "cached_tokens"),
                "reasoning_tokens": field_of(details, "reasoning_tokens"),
            }
        )

    def read(self, event: object) -> Iterator[Item]:
        match text_in(event, "type"):
            case "raw_response_event":
                yield from self._raw(field_of(event, "data"))
            case "run_item_stream_event":
                yield from self._item(text_in(event, "name"), field_of(event, "item"))
            case "agent_updated_stream_event":
                self._agents += 1
                if self._agents > 1:  # the first one began the run
                    yield {"type": "data-agent", "data": {"name": text_in(field_of(event, "new_agent"), "name")}}
        yield from self.consumed()

    def end(self) -> Iterator[Item]:
        yield from self._end_response()

    def _raw(self, event: object) -> Iterator[Item]:
        if self._response is None or self._over:
            yield from self._end_response()
            self._response, self._over = ResponsesReader(None), False
            self._responses += 1
        for item in self._response.read(event):
            if not isinstance(item, Usage):  # the run counts
                yield self._noted(item)
        self._over = text_in(event, "type") in _LAST

    def _end_response(self) -> Iterator[Item]:
        """The end of the step. The answer itself ends with the run."""
        if self._response is None or not self._over:
            return
        for item in self._response.end():
            if not isinstance(item, Usage) and item["type"] != "finish":
                yield self._noted(item)
        self._response = None

    def _noted(self, part: Part) -> Part:
        kind, call_id = part["type"], str(part.get("toolCallId"))
        if kind == "tool-input-available" and part.get("providerExecuted") is not True:
            self._called.add(call_id)
            self._unanswered.add(call_id)
        elif kind in ("tool-output-available", "tool-output-error"):
            self._unanswered.discard(call_id)
        for name in ("id", "sourceId"):
            if name in part and self._responses > 1:  # models of other providers give each response the same id
                part = part | {name: f"{self._responses}-{part[name]}"}
        return part

    def _is_told(self, call_id: str) -> bool:
        """Whether the response tells of this call itself: it did, or will when it ends."""
        return call_id in self._called or (self._response is not None and self._response.holds(call_id))

    def _item(self, name: str, item: object) -> Iterator[Item]:
        raw = field_of(item, "raw_item")
        call_id = text_in(raw, "call_id") or text_in(raw, "id")
        if name in _CALLS and call_id and not self._is_told(call_id) and not _by_provider(raw):
            self._called.add(call_id)
            self._unanswered.add(call_id)
            tool = text_in(raw, "name") or text_in(item, "tool_name") or text_in(raw, "type").removesuffix("_call")
            yield {"type": "tool-input-available", "toolCallId": call_id, "toolName": tool, "input": _input_of(raw)}
        elif name in _OUTPUTS and call_id in self._unanswered:
            self._unanswered.discard(call_id)
            output = field_of(item, "output")
            if output is None:
                output = field_of(raw, "output")
            if isinstance(output, str) and output.startswith(_FAILED):
                yield {"type": "tool-output-error", "toolCallId": call_id, "errorText": output}
            else:
                yield {"type": "tool-output-available", "toolCallId": call_id, "output": output}


def _by_provider(call: object) -> bool:
    """Whether the provider carries out this call: the response itself tells of it."""
    return text_in(call, "call_id") == ""


def _input_of(call: object) -> object:
    """The input of a call that is no call of a function: all that it says, or its arguments."""
    arguments = field_of(call, "arguments")
    if isinstance(arguments, str):
        try:
            return read_json(arguments or "{}")
        except DAMAGE:
            return arguments
    dump = getattr(call, "model_dump", None)
    fields = dump(mode="json", exclude_unset=True, warnings=False) if dump is not None else call
    left_out = ("id", "call_id", "type", "status", "name")
    return (
        {name: value for name, value in fields.items() if name not in left_out} if isinstance(fields, Mapping) else {}
    )
