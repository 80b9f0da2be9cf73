"""A message as the parts that make a client hold it, for a client that resumes a stream which continues the message.

The log of such a stream has only what it added. AI SDK's clients begin a resumed answer anew with the first `start`,
and fail on the result of a call that they do not know.

A call that was answered is told without `tool-input-available`, because the page would run its tool again. The client
then keeps the input's text, as `rawInput`, of one that has no result yet or was refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from ...errors import InvalidPartError
from ..base import Encoder
from ..folding import UIMessage
from ..partial_json import Json, Part, given, text_of

__all__ = ["continued_message"]

_CALL: Final = ("toolCallId", "toolName", "dynamic", "providerExecuted", "title", "toolMetadata")
"""Fields that every part of a call may have."""
_APPROVAL: Final = ("signature", "isAutomatic", "inputSchemaInput")


def continued_message(message: UIMessage, encoder: Encoder) -> list[bytes]:
    """The payloads of `message`, from its `start`. `encoder` is a new one, for the client and the message's id.

    What a client's version does not take is not in them.
    """
    payloads = list(encoder.begin())
    for part in _parts(message):
        with suppress(InvalidPartError):  # a host's own part, which no client takes from a stream
            payloads += encoder.encode(part)
    return payloads


def _parts(message: UIMessage) -> Iterator[Part]:
    if message.metadata is not None:
        yield {"type": "message-metadata", "messageMetadata": message.metadata}
    for index, part in enumerate(message.parts):
        kind = text_of(part, "type")
        if kind in ("text", "reasoning"):
            yield from _span(kind, text_of(part, "id") or f"before-{index}", part)
        elif kind == "step-start":
            yield {"type": "start-step"}
        elif kind == "dynamic-tool" or kind.startswith("tool-"):
            yield from _call(part)
        else:
            yield part


def _span(kind: str, span_id: str, part: Part) -> Iterator[Part]:
    yield {"type": f"{kind}-start", "id": span_id, **given(part, "providerMetadata")}
    if text_of(part, "text"):
        yield {"type": f"{kind}-delta", "id": span_id, "delta": part["text"]}
    yield {"type": f"{kind}-end", "id": span_id, **given(part, "citations")}


def _call(part: Part) -> Iterator[Part]:
    dynamic = part.get("type") == "dynamic-tool"
    name = text_of(part, "toolName") if dynamic else text_of(part, "type").removeprefix("tool-")
    call: Part = {**given(part, *_CALL), "toolName": name, **({"dynamic": True} if dynamic else {})}
    state, approval = text_of(part, "state"), part.get("approval")
    begun: Part = {**call, **_metadata(part, "call")}
    yield {"type": "tool-input-start", **begun, **given(part, "inputEncoding")}
    fails_at_once = state == "output-error" and "rawInput" not in part and "input" in part
    if state in ("input-available", "approval-requested"):
        yield {"type": "tool-input-available", **begun, "input": part.get("input")}
    elif ("rawInput" in part or "input" in part) and not fails_at_once:
        raw = text_of(part, "rawInput") or json.dumps(part.get("input"), ensure_ascii=False)
        yield {"type": "tool-input-delta", **given(part, "toolCallId"), "inputTextDelta": raw}
    if isinstance(approval, dict):
        yield from _approval(part, approval)
    ended: Part = {**given(part, "toolCallId", "toolMetadata", "providerExecuted"), **_metadata(part, "result")}
    ended |= {"dynamic": True} if dynamic else {}
    if state == "output-available":
        yield {"type": "tool-output-available", **ended, "output": part.get("output"), **given(part, "preliminary")}
    elif fails_at_once:
        yield {"type": "tool-input-error", **ended, "toolName": name, **given(part, "input", "errorText")}
    elif state == "output-error":
        yield {"type": "tool-output-error", **ended, **given(part, "errorText")}
    elif state == "output-denied":
        yield {"type": "tool-output-denied", **given(part, "toolCallId")}


def _approval(part: Part, approval: Mapping[str, Json]) -> Iterator[Part]:
    """The request for the call's approval, and the user's answer."""
    request: Part = {**given(dict(approval), *_APPROVAL)}
    if "descriptor" in approval:
        request["approvalDescriptor"] = approval["descriptor"]
    if "requestReason" in approval:
        request["reason"] = approval["requestReason"]
    yield {"type": "tool-approval-request", "approvalId": approval.get("id"), **given(part, "toolCallId"), **request}
    if isinstance(approval.get("approved"), bool):
        answer = given(dict(approval), "approved", "reason")
        yield {"type": "tool-approval-response", "approvalId": approval.get("id"), **answer}


def _metadata(part: Part, which: str) -> Part:
    metadata = part.get(f"{which}ProviderMetadata")
    return {} if metadata is None else {"providerMetadata": metadata}
