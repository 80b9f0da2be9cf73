"""pydantic-ai: an agent's run as UI message parts, and stored messages as an agent's message history.

```python
@app.post("/api/chat")
@guard.stream(session="body.id")
async def chat(body: ChatBody) -> AsyncIterator[object]:
    history = pydantic_ai.message_history(body.messages)
    return pydantic_ai.agent_parts(agent.run_stream_events(message_history=history))
```

How an event becomes parts, and how they become history again, is pydantic-ai's own: `pydantic_ai.ui.vercel_ai`. This
module adds what a guarded stream needs: the run's usage, failures that are raised instead of told, and a run that ends
with its stream. Tested with pydantic-ai-slim 1.100.0 and 2.68.0.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from ..decoding import read_json
from ..errors import FaultError
from ..faults import Fault, FaultCode
from ._libraries import library
from ._model_streams import ModelItems
from ._pydantic_ai_events import EXTRA, RunEnded, Tally, events_of
from ._ui_messages import Call, Content, File, HistoryMessage, Reasoning, Text, read_history, turns_of
from ._ui_parts import Item, Part

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.usage import RunUsage

__all__ = ["adapter_parts", "agent_parts", "message_history"]

_VERCEL: Final = "pydantic_ai.ui.vercel_ai"

_KEPT_NULLS: Final = frozenset({"input", "output", "data"})
"""Fields in which `null` is a value."""

_RESULTS: Final = frozenset({"tool-output-available", "tool-output-error", "tool-output-denied", "tool-input-error"})


def agent_parts(source: object, *, usage: RunUsage | None = None, approvals: bool = False) -> AsyncIterator[Item]:
    """The parts of an agent's run, and what it consumed.

    Closing them, as a stop does, cancels the run and the tools that it is calling. The run's own exceptions
    are raised as they are.

    Args:
        source: what `agent.run_stream_events(…)`, `agent.run_stream(…)` or `agent.iter(…)` returned, or the object
            that one of them gives inside `async with`; also `node.stream(…)` of a node of `agent.iter(…)`.
        usage: the `RunUsage` that the run was given with `usage=`, if any. What it counts when this begins is not
            charged. A mere iterator of events (`run_stream_events` of pydantic-ai 1, `run_stream_native` of an adapter)
            tells what it consumed only at its end: give one here to charge a run that is stopped or fails.
        approvals: send `tool-approval-request` for calls that wait for an approval. Clients of AI SDK 5 have no such
            part.

    Raises:
        ConfigurationError: pydantic-ai is not installed.
        TypeError: `source` is no stream of an agent.
    """
    return ModelItems(_agent_parts(source, usage, approvals=approvals), partial(_close, source))


async def _agent_parts(source: object, usage: RunUsage | None, *, approvals: bool) -> AsyncIterator[Item]:
    tally = Tally(usage)
    events = ModelItems(events_of(source, tally), partial(_close, source))
    try:
        parts = _EventParts(approvals=approvals)
        async for event in events:
            async for part in parts.of(event):
                yield part
            if parts.may_have_consumed:
                for item in tally.grown():
                    yield item
    except Exception:
        for item in tally.grown():
            yield item
        raise
    finally:
        await events.aclose()
    for item in tally.grown():
        yield item


def adapter_parts(source: AsyncIterable[object], *, usage: RunUsage | None = None) -> AsyncIterator[Item]:
    """The parts that pydantic-ai's own Vercel adapter made: `adapter.run_stream(…)`, or `adapter.encode_stream(…)` of
    it.

    The adapter tells a failure as an `error` part that holds the exception's text, which may be none of the user's
    business; here it becomes the fault `provider_error`. Rather give the events to `agent_parts`, which tells failures
    as what they are: `agent_parts(adapter.run_stream_native(usage=usage), usage=usage)`.

    Args:
        source: chunks, or the text that they were encoded to.
        usage: the `RunUsage` that the run was given with `usage=`. Without it, nothing is charged: chunks do not tell
            what was consumed.

    Raises:
        FaultError: the run failed.
    """
    return ModelItems(_adapter_parts(source, usage), partial(_close, source))


async def _adapter_parts(source: AsyncIterable[object], usage: RunUsage | None) -> AsyncIterator[Item]:
    tally = Tally(usage)
    failed = False
    try:
        async for chunk in source:
            for part in _parts_of_chunk(chunk):
                failed = failed or part.get("type") == "error"
                if not failed:
                    yield part
            for item in tally.grown():
                yield item
    finally:
        await _close(source)
    if failed:
        raise FaultError(Fault.of(FaultCode.PROVIDER_ERROR))


async def _close(source: object) -> None:
    """Close a source that is an iterator. The host closes what it entered itself."""
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()


def message_history(ui_messages: Iterable[object]) -> list[ModelMessage]:
    """Stored UI messages as the `message_history` of a run, through pydantic-ai's own `VercelAIAdapter.load_messages`.

    A run with a history needs no prompt: the last message of the user is the prompt.

    What the model cannot take is left out or completed first: a call without a result gets an error as its result, and
    data parts, sources, calls that the provider carried out and files that cannot be read are left out. Calls that wait
    for an approval count as not carried out; to resume them, give the request to `VercelAIAdapter.from_request`.

    Args:
        ui_messages: as the client sends them, or as the guard's message store gives them back.

    Raises:
        ConfigurationError: pydantic-ai is not installed.
        ValueError: something among them is no UI message.
    """
    adapter = library(_VERCEL, extra=EXTRA).VercelAIAdapter
    message = library(f"{_VERCEL}.request_types", extra=EXTRA).UIMessage
    loaded = [
        message.model_validate({"id": str(at), "role": found.role, "parts": parts})
        for at, found in enumerate(read_history(ui_messages))
        if (parts := list(_loadable_parts(found)))
    ]
    return cast("list[ModelMessage]", adapter.load_messages(loaded))


class _EventParts:
    """Turns events into parts, as pydantic-ai's stream for AI SDK does, and adds the steps."""

    def __init__(self, *, approvals: bool) -> None:
        vercel = library(_VERCEL, extra=EXTRA).VercelAIEventStream
        version: dict[str, object] = {"sdk_version": 6 if approvals else 5}
        known = {field.name for field in dataclasses.fields(vercel)}
        self._stream = vercel(None, **{name: value for name, value in version.items() if name in known})
        self._responding = False
        self._in_step = False
        self._called: dict[str, None] = {}  # calls that have no result yet
        self.may_have_consumed = True
        """Whether the run's usage may have grown with the last event: with a delta it has not."""

    async def of(self, event: object) -> AsyncIterator[Part]:
        """The parts of one event."""
        kind = getattr(event, "event_kind", None)
        self.may_have_consumed = kind != "part_delta"
        if kind == "part_start" and not self._responding:
            self._responding = True
            for part in self._next_step():
                yield part
        elif kind in ("function_tool_call", "output_tool_call"):
            self._responding = False
        elif kind == "agent_run_result" or isinstance(event, RunEnded):
            deferred = _deferred(event if isinstance(event, RunEnded) else getattr(event, "result", None))
            for call_id in self._called.keys() - deferred:
                yield {"type": "tool-output-available", "toolCallId": call_id, "output": "Final result processed."}
            self._called.clear()
        if kind in ("part_start", "part_end"):
            record = getattr(self._stream, "_record_canonical_system", None)  # whose signature it is, for the history
            if record is not None:
                record(event)
        if kind is None:
            return
        async for chunk in self._stream.handle_event(event):
            part = _fields_of(chunk)
            self._note(part)
            yield part

    def _next_step(self) -> list[Part]:
        ended: list[Part] = [{"type": "finish-step"}] if self._in_step else []
        self._in_step = True
        return [*ended, {"type": "start-step"}]

    def _note(self, part: Part) -> None:
        kind, call_id = part.get("type"), str(part.get("toolCallId"))
        if kind == "tool-input-available" and part.get("providerExecuted") is not True:
            self._called[call_id] = None
        elif kind in _RESULTS or kind == "tool-approval-request":
            self._called.pop(call_id, None)


def _deferred(ended: object) -> set[str]:
    """The ids of the calls that wait for the user, or for the page to carry them out."""
    output = getattr(ended, "output", None)
    waiting = [*(getattr(output, "approvals", None) or ()), *(getattr(output, "calls", None) or ())]
    return {call.tool_call_id for call in waiting if hasattr(call, "tool_call_id")}


def _fields_of(chunk: object) -> Part:
    """The fields of a chunk, without those that have no value, and those that AI SDK 5.0.0 does not know."""
    fields = chunk.model_dump(by_alias=True, warnings=False)  # type: ignore[attr-defined]
    part = {name: value for name, value in fields.items() if value is not None or name in _KEPT_NULLS}
    if part.get("type") == "tool-input-start":
        part.pop("providerMetadata", None)
    return part


def _parts_of_chunk(chunk: object) -> Iterator[Part]:
    """The parts of a chunk, or of the text of chunks."""
    if not isinstance(chunk, str):
        part = _fields_of(chunk)
        if part.get("type") != "done":
            yield part
        return
    for block in chunk.split("\n\n"):
        data = block.removeprefix("data:").strip()
        if data and data != "[DONE]":
            yield dict(read_json(data.encode()))


def _loadable_parts(message: HistoryMessage) -> Iterator[Part]:
    """The message's contents in the form that `load_messages` takes."""
    if message.role != "assistant":
        for content in message.contents:
            yield from _loadable(content, files_by_address=message.role == "user")
        return
    for said, calls in turns_of(message):
        yield {"type": "step-start"}
        for content in (*said, *calls):
            yield from _loadable(content, files_by_address=False)


def _loadable(content: Content, *, files_by_address: bool) -> Iterator[Part]:
    match content:
        case Text():
            yield {"type": "text", "text": content.text}
        case Reasoning():
            yield {"type": "reasoning", "text": content.text} | _metadata("providerMetadata", content.metadata)
        case File():
            if content.base64 is not None:
                url = f"data:{content.media_type};base64,{content.base64}"
                yield {"type": "file", "mediaType": content.media_type, "url": url}
            elif files_by_address and not content.url.lower().startswith("data:"):
                yield {"type": "file", "mediaType": content.media_type, "url": content.url}
        case Call():
            call: Part = {"type": f"tool-{content.name}", "toolCallId": content.call_id, "input": content.input_object}
            if content.error is None:
                call |= {"state": "output-available", "output": content.output}
            else:
                call |= {"state": "output-error", "errorText": content.error}
            yield call | _metadata("callProviderMetadata", content.metadata)


def _metadata(name: str, metadata: Mapping[str, object]) -> Part:
    found = {provider: fields for provider, fields in metadata.items() if isinstance(fields, Mapping)}
    return {name: found} if found else {}


if "pydantic_ai" in sys.modules:  # load the rest with the application, not on the event loop at the first request
    library(_VERCEL, extra=EXTRA)
