"""Takes over what a client added to an assistant message that it sends back: results of tools that ran in the browser,
and a user's answers to approval requests.

Source: `addToolOutput` and `addToolApprovalResponse` of the npm package `ai` 7.0.173. Nothing else that a client sends
back is trusted, because it could put words into the model's mouth.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from ..closed_calls import is_closed_call
from ..folding import UIMessage
from ..partial_json import Json, Part, text_of
from ..tool_fold import ENDED

__all__ = ["with_tool_results"]

_OPEN: Final = frozenset({"input-streaming", "input-available", "approval-requested", "approval-responded"})
"""A call in one of these states waits for its end. So does a call that was closed because its answer ended: the client
may have sent the result before it knew."""
_TAKEN: Final = ("state", "output", "errorText", "approval")
_OF_AN_ERROR: Final = ("errorText", "rawInput")
"""Fields of the error that closed a call."""


def with_tool_results(message: UIMessage, given: Sequence[Mapping[str, Json]]) -> UIMessage:
    """`message` with the results and approvals for its open tool calls that `given`, the client's parts of the message,
    hold. Returns `message` itself when there are none."""
    answers = {text_of(dict(part), "toolCallId"): part for part in given if _is_answer(part)}
    parts = [_answered(part, answers) for part in message.parts]
    if all(new is old for new, old in zip(parts, message.parts, strict=True)):
        return message
    return replace(message, parts=tuple(parts))


def _is_answer(part: Mapping[str, Json]) -> bool:
    return isinstance(part.get("toolCallId"), str) and (
        part.get("state") in ENDED or part.get("state") == "approval-responded"
    )


def _answered(part: Part, answers: Mapping[str, Mapping[str, Json]]) -> Part:
    answer = answers.get(text_of(part, "toolCallId"))
    if answer is None or not _waits(part) or _says_the_same(part, answer):
        return part
    taken = {name: copy.deepcopy(answer[name]) for name in _TAKEN if name in answer}
    approval, asked = taken.get("approval"), part.get("approval")
    if isinstance(approval, dict) and isinstance(asked, dict):
        if approval.get("id") != asked.get("id"):
            return part
        taken["approval"] = {**asked, **approval}
    kept = {name: value for name, value in part.items() if name not in _OF_AN_ERROR} if is_closed_call(part) else part
    return {**kept, **taken}


def _waits(part: Mapping[str, Json]) -> bool:
    return part.get("state") in _OPEN or is_closed_call(part)


def _says_the_same(part: Mapping[str, Json], answer: Mapping[str, Json]) -> bool:
    return part.get("state") == answer.get("state") and part.get("errorText") == answer.get("errorText")
