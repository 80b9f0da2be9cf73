"""Builds AI SDK's UI message parts from the events of a model library. The adapters of this package share it.

Source of the parts: `uiMessageChunkSchema` of the npm package `ai`, 5.0.0 to 7.0.173. Fields that have no value are
left out, because a client refuses `null`; no field is used that `ai` 5.0.0 does not know, except `finishReason` of
`finish`, which the encoder leaves out for such a client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from ..values import Usage
from ..wire.closed_calls import CALL_CLOSED

__all__ = ["FINISH_REASONS", "Item", "Metadata", "Part", "PartBuilder", "UsageMeter"]

Part: TypeAlias = dict[str, object]
"""A UI message part."""

Item: TypeAlias = "Part | Usage"
"""What an adapter yields: a part for the client, or what was consumed since the last `Usage`."""

Metadata: TypeAlias = Mapping[str, object]
"""`providerMetadata` of a part, by provider: `{"anthropic": {"signature": "…"}}`."""

FINISH_REASONS: Final = frozenset({"stop", "length", "content-filter", "tool-calls", "error", "other"})
"""The values that AI SDK takes as `finishReason`."""


class PartBuilder:
    """Makes the parts of one answer, in an order that every client reads.

    - A step begins with its first content, so that an answer that fails before it has shown nothing.
    - At most one text or reasoning is open. It ends before anything else begins; a later delta of it begins a new one.
    - A tool call may be announced, and its input may come in pieces, before `tool_input` gives the input.

    Every method returns the parts to yield, in order; none when there is nothing to tell.

    Args:
        prefix: begins the ids of texts, reasonings and sources. It makes them unique in a message of several steps:
            take the provider's id of the response.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self._count = 0
        self._open: tuple[str, object, str] | None = None  # ("text" | "reasoning", the caller's key, id)
        self._in_step = False
        self._urls: set[str] = set()
        self._with_input: set[str] = set()  # calls whose input has begun

    def text(self, delta: str, *, of: object = None) -> list[Part]:
        """A piece of a text. `of` tells the texts of one step apart: the index or id of the content block."""
        return self._delta("text", delta, of, None) if delta else []

    def reasoning(self, delta: str, *, of: object = None, metadata: Metadata | None = None) -> list[Part]:
        """A piece of a reasoning; empty with `metadata` for one that has no text. `of` as in `text`.

        The first piece tells `metadata`, and `end_span` may tell other: a client keeps the last.
        """
        return self._delta("reasoning", delta, of, metadata) if delta or metadata else []

    def end_span(self, metadata: Metadata | None = None) -> list[Part]:
        """End the text or reasoning that is open, if one is."""
        if self._open is None:
            return []
        kind, _, part_id = self._open
        self._open = None
        return [_with({"type": f"{kind}-end", "id": part_id}, metadata)]

    def tool_start(self, call_id: str, name: str, *, provider_executed: bool = False) -> list[Part]:
        """A tool call whose input is about to come in pieces."""
        part: Part = {"type": "tool-input-start", "toolCallId": call_id, "toolName": name}
        return self._after_span(_executed(part, provider_executed))

    def tool_delta(self, call_id: str, text: str) -> list[Part]:
        """A piece of the input's JSON text. The call has been announced in this step."""
        if not text:
            return []
        if not text.isspace():
            self._with_input.add(call_id)
        return self._after_span({"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": text})

    def tool_input(
        self,
        call_id: str,
        name: str,
        value: object,
        *,
        metadata: Metadata | None = None,
        provider_executed: bool = False,
    ) -> list[Part]:
        """A whole tool call. `value` is its input: any JSON; a text for arguments that are no JSON."""
        part: Part = {"type": "tool-input-available", "toolCallId": call_id, "toolName": name, "input": value}
        return self._after_span(_executed(_with(part, metadata), provider_executed))

    def tool_output(self, call_id: str, output: object, *, provider_executed: bool = False) -> list[Part]:
        """The result of a call, of this step or an earlier one."""
        part: Part = {"type": "tool-output-available", "toolCallId": call_id, "output": output}
        return [*self.end_span(), _executed(part, provider_executed)]

    def tool_error(self, call_id: str, text: str, *, provider_executed: bool = False) -> list[Part]:
        """The failure of a call, of this step or an earlier one. Clients and the model read `text`."""
        part: Part = {"type": "tool-output-error", "toolCallId": call_id, "errorText": text}
        return [*self.end_span(), _executed(part, provider_executed)]

    def tool_cut(self, call_id: str, *, failed: bool = True) -> list[Part]:
        """End a call whose input a limit cut off. A page does not carry it out, as it would a whole one. Without
        `failed`, who runs the tools tells that it failed."""
        begin = [] if call_id in self._with_input else self.tool_delta(call_id, "{}")
        return [*begin, *self.tool_error(call_id, CALL_CLOSED)] if failed else begin

    def source(self, url: str, title: str | None = None) -> list[Part]:
        """A web page that the answer cites; nothing for one that it has cited before."""
        if not url or url in self._urls:
            return []
        self._urls.add(url)
        part: Part = {"type": "source-url", "sourceId": self._next_id("source"), "url": url}
        return [*self._begin_step(), part | ({"title": title} if title else {})]

    def file(self, url: str, media_type: str) -> list[Part]:
        """A file that the model made; `url` may be a data URL."""
        return self._after_span({"type": "file", "url": url, "mediaType": media_type})

    def finish_step(self) -> list[Part]:
        """End the step, if it has begun: one call of a model, with what it called."""
        out = self.end_span()
        if self._in_step:
            self._in_step = False
            out.append({"type": "finish-step"})
        return out

    def finish(self, reason: str | None = None) -> list[Part]:
        """End the answer. A `reason` that AI SDK does not know becomes `other`; None leaves it out."""
        part: Part = {"type": "finish"}
        if reason is not None:
            part["finishReason"] = reason if reason in FINISH_REASONS else "other"
        return [*self.finish_step(), part]

    def _delta(self, kind: str, delta: str, key: object, metadata: Metadata | None) -> list[Part]:
        out: list[Part] = []
        if self._open is None or self._open[:2] != (kind, key):
            out += [*self.end_span(), *self._begin_step()]
            self._open = (kind, key, self._next_id(kind))
            out.append(_with({"type": f"{kind}-start", "id": self._open[2]}, metadata))
        if delta:
            out.append({"type": f"{kind}-delta", "id": self._open[2], "delta": delta})
        return out

    def _after_span(self, part: Part) -> list[Part]:
        return [*self.end_span(), *self._begin_step(), part]

    def _begin_step(self) -> list[Part]:
        if self._in_step:
            return []
        self._in_step = True
        return [{"type": "start-step"}]

    def _next_id(self, kind: str) -> str:
        self._count += 1
        return f"{self.prefix}{'-' if self.prefix else ''}{kind}-{self._count}"


class UsageMeter:
    """Turns the running totals of one model call into what was consumed since the last one was told.

    So usage that a library tells at once, in parts or again and again is charged once, and what it told before a stop
    or a failure is charged too.
    """

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def reached(self, totals: Mapping[str, object]) -> list[Item]:
        """The `Usage` to yield, if any. A total that is no count, or lower than before, counts for nothing.

        Without `total_tokens`, they are input and output together.
        """
        if type(totals.get("total_tokens")) is not int:
            spent = [n for n in (totals.get("input_tokens"), totals.get("output_tokens")) if type(n) is int]
            totals = {**totals, "total_tokens": sum(spent)}
        grown: dict[str, int] = {}
        for unit, total in totals.items():
            if type(total) is int and 0 <= total < 2**53 and total > self._told.get(unit, 0):
                grown[unit] = total - self._told.get(unit, 0)
                self._told[unit] = total
        return [Usage(grown)] if grown else []


def _with(part: Part, metadata: Metadata | None) -> Part:
    return part | ({"providerMetadata": dict(metadata)} if metadata else {})


def _executed(part: Part, by_provider: bool) -> Part:
    return part | ({"providerExecuted": True} if by_provider else {})
