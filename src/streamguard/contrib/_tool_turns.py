"""One call of a model in an endpoint that runs the model's tools itself: what it called, and what its history is.

Each provider's adapter has a class of its own that puts the history into the provider's form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from ..decoding import DAMAGE, read_json
from ..wire.closed_calls import CALL_CLOSED
from ._ui_messages import json_text
from ._ui_parts import Part

__all__ = ["ToolCall", "ToolTurn", "arguments_of", "is_cut"]

NOT_CARRIED_OUT: Final = "The call was not carried out."


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call of the model."""

    call_id: str
    name: str
    arguments: str
    """The arguments as the model wrote them: a JSON text, if the model kept to it."""
    cut: bool = False
    """Whether a limit of the answer's length cut the call off. Then nobody knows what the model was about to call."""

    @property
    def input(self) -> dict[str, object]:
        """The arguments as an object.

        Raises:
            ValueError: the model wrote something else, or was cut off. Tell it so: `turn.failed(call, str(exc))`.
        """
        if self.cut:
            raise ValueError(CALL_CLOSED)
        value = arguments_of(self.arguments)
        if not isinstance(value, dict):
            raise ValueError("The arguments of the call are no JSON object.")
        return value


class ToolTurn(ABC):
    """What the model called in one step, and its history. Empty until the step's parts have been read to their end.

    The endpoint answers each of `calls` with `returned` or `failed`, and yields the part that these give back.
    """

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        """The calls to carry out, in the model's order. Empty: the model is done."""
        self._results: dict[str, tuple[str, bool]] = {}  # by call id: the text for the model, and whether it failed

    def returned(self, call: ToolCall, output: object) -> Part:
        """The part that shows a call's result. `output` is any JSON; the model reads a string as it is."""
        self._results[call.call_id] = (output if isinstance(output, str) else json_text(output), False)
        return {"type": "tool-output-available", "toolCallId": call.call_id, "output": output}

    def failed(self, call: ToolCall, error: str) -> Part:
        """The part that shows that a call failed. The client and the model read `error`: no secrets in it."""
        self._results[call.call_id] = (error, True)
        return {"type": "tool-output-error", "toolCallId": call.call_id, "errorText": error}

    def _result(self, call: ToolCall) -> tuple[str, bool]:
        """The text for the model, and whether it is an error. A call that nobody answered failed."""
        return self._results.get(call.call_id, (NOT_CARRIED_OUT, True))

    @property
    @abstractmethod
    def history(self) -> list[dict[str, object]]:
        """What the model said and what its calls gave, as the provider's history has it."""


def arguments_of(text: str) -> object:
    """The value of a call's arguments: an empty object for an empty text, and the text itself if it is no JSON."""
    if not text.strip():
        return {}
    try:
        return read_json(text)
    except DAMAGE:
        return text


def is_cut(text: str) -> bool:
    """Whether these arguments are not whole, if they are the last that a model wrote before a limit."""
    return not text.strip() or not isinstance(arguments_of(text), dict)
