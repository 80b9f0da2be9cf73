"""The ids that each log line within a stream has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from ..scopes import StreamContext, current_stream
from .safety import id_text

__all__ = ["IDS", "ids_of", "ids_of_present_stream"]

IDS: Final = ("session_id", "stream_id", "message_id", "request_id", "owner_hash")
"""In the order in which lines have them."""


@lru_cache(maxsize=256)
def ids_of(context: StreamContext) -> Mapping[str, str]:
    """The ids of a stream, as far as they are known, in the form in which a log may have them."""
    found = {name: getattr(context, name) for name in IDS}
    return {name: id_text(value) for name, value in found.items() if value is not None}


def ids_of_present_stream() -> Mapping[str, str]:
    """The ids of the stream that the present task or thread works on; none outside of any."""
    context = current_stream.get()
    return {} if context is None else ids_of(context)
