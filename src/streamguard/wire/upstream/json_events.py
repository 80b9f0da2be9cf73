"""Reading the JSON of an upstream's blocks: every field may be missing or of another type, and nothing raises."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ...decoding import DAMAGE, read_json
from ...faults import FaultCode
from ..partial_json import Json, Part
from ..sse import Block

__all__ = ["MOST", "JsonEvent", "amount_of", "failure_of", "items_of", "json_event", "mapping_of"]

MOST: Final = 2**53 - 1
"""The highest amount."""
_NONE: Final[Part] = {}
_ENDS_BLOCK: Final = re.compile(rb"(?:\r\n|\n|\r)(?:\r\n|\n|\r)\Z")
_RATE: Final = re.compile("rate_?limit|too_many_requests|^429$|resource_exhausted", re.IGNORECASE)
_TIMEOUT: Final = re.compile("time_?out|^(?:408|504)$|deadline_exceeded", re.IGNORECASE)


class JsonEvent(NamedTuple):
    """One event whose data is a JSON object."""

    name: str
    """The event's name; empty when the block gives none."""
    value: Part

    @property
    def type(self) -> str:
        """The object's own type; empty when it has none."""
        found = self.value.get("type")
        return found if isinstance(found, str) else ""


def json_event(block: Block) -> JsonEvent | None:
    """The event of a block; None when clients dispatch none, or its data is no JSON object."""
    if _ENDS_BLOCK.search(block.raw[-4:]) is None:
        return None
    data = block.data
    if not data.startswith(b"{") and not data.lstrip().startswith(b"{"):
        return None
    try:
        value = read_json(data)
    except DAMAGE:
        return None
    return JsonEvent(block.event.decode("utf-8", "replace"), value) if isinstance(value, dict) else None


def mapping_of(value: Mapping[str, Json], name: str) -> Part:
    """A field that is an object; empty when it is missing or something else."""
    found = value.get(name)
    return found if isinstance(found, dict) else _NONE


def items_of(value: Mapping[str, Json], name: str) -> Sequence[Part]:
    """The objects in a field that is an array."""
    found = value.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else ()


def amount_of(value: Mapping[str, Json], name: str) -> int | None:
    """A field that is an amount; None when it is missing or something else."""
    found = value.get(name)
    return found if type(found) is int and 0 <= found <= MOST else None


def failure_of(error: Mapping[str, Json]) -> FaultCode:
    """The fault that an upstream's error object stands for."""
    words = [str(error.get(name)) for name in ("type", "code", "status")]
    if any(map(_RATE.search, words)):
        return FaultCode.PROVIDER_RATE_LIMITED
    if any(map(_TIMEOUT.search, words)):
        return FaultCode.PROVIDER_TIMEOUT
    return FaultCode.PROVIDER_ERROR
