"""The events of any of pydantic-ai's streams, in order, and the usage that its objects tell.

Source: `pydantic_ai.agent`, `pydantic_ai.run` and `pydantic_ai.result`, pydantic-ai-slim 1.100.0 to 2.68.0. The objects
are recognised by what they have: some changed their class in between, and `usage` was a method in version 1.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from types import ModuleType
from typing import Final, cast

from ._libraries import library
from ._model_streams import broken_off
from ._ui_parts import Item, UsageMeter

__all__ = ["EXTRA", "RunEnded", "Tally", "events_of"]

EXTRA: Final = "pydantic-ai"

_SAYING_WHY: Final = frozenset({"openai", "azure", "anthropic"})
"""Providers whose stream has not ended before it says why."""

_UNITS: Final[Mapping[str, str]] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "cache_read_tokens": "cached_input_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
}


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The whole run is over: no result of a tool follows."""

    output: object = None
    """What the run gave back."""


class Tally:
    """What one run consumed, told as it grows.

    Args:
        usage: the `RunUsage` that the host gave the run, which counts what earlier runs consumed too; None if it gave
            none.
    """

    def __init__(self, usage: object) -> None:
        self._meter = UsageMeter()
        self._holder: object = None
        self._given = usage
        if usage is not None:
            self._meter.reached(_amounts(usage))

    @property
    def follows(self) -> bool:
        """Whether it is known where the totals are."""
        return self._holder is not None

    def follow(self, holder: object, *, but: object = None) -> None:
        """Take the totals from this object's `usage`, without what `but` counts."""
        self._holder = holder
        if self._given is None and but is not None:
            self._meter.reached(_amounts(but))

    def follow_stream(self, stream: object) -> None:
        """Take the totals from the object that gave its first event just now, if it has any."""
        if isinstance(getattr(type(stream), "usage", None), property) or hasattr(stream, "usage"):
            before = getattr(stream, "_initial_run_ctx_usage", None)  # of one node's stream
            self.follow(stream, but=_usage_in(stream) if before is None else before)

    def grown(self) -> list[Item]:
        """The `Usage` to yield, if more was consumed since the last one."""
        usage = self._given if self._given is not None else _usage_in(self._holder)
        return self._meter.reached(_amounts(usage))


async def events_of(source: object, tally: Tally) -> AsyncIterator[object]:
    """The events of an agent's run. Closing the generator cancels the run.

    `source` is what one of these returned, or the object that it gives inside `async with`:
    `agent.run_stream_events(…)`, `agent.run_stream(…)`, `agent.iter(…)`, and `stream(…)` of one of its nodes.

    Raises:
        TypeError: `source` is none of these.
        FaultError: the model's response was broken off.
        Exception: what the run raises, unchanged.
    """
    async with AsyncExitStack() as opened:
        if not hasattr(source, "__aiter__") and hasattr(source, "__aenter__"):
            manager = cast("AbstractAsyncContextManager[object]", source)
            source = await opened.enter_async_context(manager)
        if hasattr(source, "new_messages") and not hasattr(source, "__aiter__"):  # a `StreamedRunResult`
            tally.follow(source)
            events = _events_of_result(source)
        elif hasattr(source, "next_node"):  # an `AgentRun`
            tally.follow(source, but=_usage_in(source))
            events = _events_of_run(source)
        elif hasattr(source, "__aiter__"):
            close = getattr(source, "aclose", None)
            if close is not None:
                opened.push_async_callback(close)
            events = aiter(cast("AsyncIterable[object]", source))
        else:
            raise TypeError(
                f"{type(source).__name__} is no stream of an agent: pass what agent.run_stream_events(), "
                "agent.run_stream() or agent.iter() returned"
            )
        following = False
        async for event in events:
            if not (following or tally.follows):
                following = True
                tally.follow_stream(source)
            if getattr(event, "event_kind", None) == "agent_run_result":
                result = getattr(event, "result", None)
                tally.follow(result)
                _check_whole(getattr(result, "response", None))
            yield event
        if hasattr(source, "stream_text"):  # not the whole run
            _check_whole(getattr(source, "response", None))


def _check_whole(response: object) -> None:
    """Refuse a response whose stream was broken off, which pydantic-ai takes for its end.

    Raises:
        FaultError: it was.
    """
    provider = getattr(response, "provider_name", None)
    if getattr(response, "state", "complete") != "complete" or provider not in _SAYING_WHY:
        return
    reason = getattr(response, "finish_reason", None)
    details = getattr(response, "provider_details", None)
    if (
        reason == "stop"
        and provider != "anthropic"
        and not (isinstance(details, Mapping) and "finish_reason" in details)
    ):
        reason = None  # pydantic-ai's own guess
    # OpenAI tells the usage last, and a server that speaks its protocol may tell nothing but that.
    if reason is None and (
        provider == "anthropic" or not getattr(getattr(response, "usage", None), "output_tokens", 0)
    ):
        raise broken_off()


async def _events_of_run(run: object) -> AsyncIterator[object]:
    """The events of all nodes of an `AgentRun`."""
    run_library = library("pydantic_ai.run", extra=EXTRA)
    async for node in cast("AsyncIterable[object]", run):
        stream = getattr(node, "stream", None)
        if stream is None:
            continue
        async with stream(getattr(run, "ctx")) as events:  # noqa: B009 -- it is known by its name only
            async for event in events:
                yield event
    result = getattr(run, "result", None)
    if result is not None:
        yield run_library.AgentRunResultEvent(result)


async def _events_of_result(result: object) -> AsyncIterator[object]:
    """The events of a `StreamedRunResult`: of the run so far, which pydantic-ai tells as messages only, and of the last
    response as it grows."""
    messages = library("pydantic_ai.messages", extra=EXTRA)
    new_messages: Callable[[], Sequence[object]] = getattr(result, "new_messages")  # noqa: B009
    before = list(new_messages())
    for message in before:
        for event in _events_of_message(messages, message):
            yield event
    snapshots = getattr(result, "stream_response", None) or getattr(result, "stream_responses")  # noqa: B009
    sent = _Snapshots(messages)
    async for snapshot in snapshots(debounce_by=None):
        response = snapshot[0] if isinstance(snapshot, tuple) else snapshot
        for event in sent.grown(response.parts):
            yield event
    for event in sent.ended():
        yield event
    for message in new_messages()[len(before) :]:
        if getattr(message, "kind", "") == "request":
            for event in _events_of_message(messages, message):
                yield event
    output: Callable[[], Awaitable[object]] = getattr(result, "get_output")  # noqa: B009
    yield RunEnded(await output())


def _events_of_message(messages: ModuleType, message: object) -> list[object]:
    parts: Sequence[object] = getattr(message, "parts", ())
    if getattr(message, "kind", "") == "response":
        out: list[object] = []
        for index, part in enumerate(parts):
            out += [messages.PartStartEvent(index=index, part=part), messages.PartEndEvent(index=index, part=part)]
        return [*out, *_call_events(messages, parts)]
    return [
        messages.FunctionToolResultEvent(part)
        for part in parts
        if getattr(part, "part_kind", "") in ("tool-return", "retry-prompt") and getattr(part, "tool_name", None)
    ]


def _call_events(messages: ModuleType, parts: Sequence[object]) -> list[object]:
    events = [messages.FunctionToolCallEvent(part) for part in parts if getattr(part, "part_kind", "") == "tool-call"]
    for event in events:
        if hasattr(event, "args_valid"):
            event.args_valid = True
    return events


class _Snapshots:
    """Turns the snapshots of a response that grows into its events."""

    def __init__(self, messages: ModuleType) -> None:
        self._messages = messages
        self._parts: list[object] = []

    def grown(self, parts: list[object]) -> list[object]:
        out: list[object] = []
        for index, part in enumerate(parts):
            if index < len(self._parts):
                out += self._delta(index, self._parts[index], part)
                self._parts[index] = part
                continue
            if self._parts:
                out += self._end(len(self._parts) - 1)
            out.append(self._messages.PartStartEvent(index=index, part=part))
            self._parts.append(part)
        return out

    def ended(self) -> list[object]:
        if not self._parts:
            return []
        return [*self._end(len(self._parts) - 1), *_call_events(self._messages, self._parts)]

    def _end(self, index: int) -> list[object]:
        return [self._messages.PartEndEvent(index=index, part=self._parts[index])]

    def _delta(self, index: int, before: object, part: object) -> list[object]:
        kind = getattr(part, "part_kind", "")
        name = "args" if kind == "tool-call" else "content"
        had, has = getattr(before, name, None) or "", getattr(part, name, None) or ""
        if not (isinstance(had, str) and isinstance(has, str)) or len(has) <= len(had):
            return []
        more = has[len(had) :]
        messages = self._messages
        match kind:
            case "text":
                delta = messages.TextPartDelta(content_delta=more)
            case "thinking":
                delta = messages.ThinkingPartDelta(content_delta=more)
            case "tool-call":
                delta = messages.ToolCallPartDelta(args_delta=more, tool_call_id=getattr(part, "tool_call_id", None))
            case _:
                return []
        return [messages.PartDeltaEvent(index=index, delta=delta)]


def _usage_in(holder: object) -> object:
    """What the object counts; None where it counts nothing yet."""
    try:
        usage = getattr(holder, "usage", None)
    except Exception:  # noqa: BLE001 -- `AgentRunEvents` refuses to tell before the run has started
        return None
    return usage() if inspect.ismethod(usage) else usage


def _amounts(usage: object) -> dict[str, object]:
    amounts: dict[str, object] = {}
    for name, unit in _UNITS.items():
        amounts[unit] = getattr(usage, name, None)
    details = getattr(usage, "details", None)
    if not amounts["reasoning_tokens"] and isinstance(details, Mapping):  # before the field of that name
        amounts["reasoning_tokens"] = details.get("reasoning_tokens")
    return amounts
