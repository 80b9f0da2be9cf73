"""The Lua scripts: the files beside this module and their digests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from ...lua import read_scripts
from ...values import FORMAT_VERSION
from ..registrations import ENDED_UNCOUNTED
from . import index_calls, report_calls, session_calls, stream_calls
from .lifetimes import INDEX_TTL_MS, OWNER_TTL_MS
from .record_fields import META_FIELDS, RECORD_FIELDS

__all__ = ["Scripts"]


def _digest(source: str) -> bytes:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest().encode()


_STREAMS_OF_A_MESSAGE: Final = 64
"""How many of the streams that wrote one message a session lists: a later save looks for the one before it."""

_SOURCES: Final = read_scripts(
    __package__,
    (*stream_calls.CALLS, *session_calls.CALLS, *index_calls.CALLS, *report_calls.CALLS),
    {
        "@FORMAT_VERSION@": FORMAT_VERSION,
        "@META_FIELDS@": ", ".join(f"'{field}'" for field in META_FIELDS.values()),
        **{f"@{name.upper()}_AT@": at for at, name in enumerate(META_FIELDS, 1)},
        "@STREAMS_OF_A_MESSAGE@": _STREAMS_OF_A_MESSAGE,
        "@ENDED_UNCOUNTED@": ENDED_UNCOUNTED,
        "@INDEX_TTL_MS@": INDEX_TTL_MS,
        "@OWNER_TTL_MS@": OWNER_TTL_MS,
        **{f"@{name}@": f"'{field}'" for name, field in RECORD_FIELDS.items()},
    },
    by_hand=("append",),
)
"""Lua by script name."""


_PUBLISH: Final = re.compile(r"(?:redis\.)?\bcall\('PUBLISH', meta_key")
_TO_SHARDS: Final = """
local function publish(channel, message)
  local heard = redis.pcall('SPUBLISH', channel, message)
  if type(heard) ~= 'number' or heard == 0 then redis.call('PUBLISH', channel, message) end
end
"""


class Scripts:
    """Scripts by name. What a store runs is what it was given, so a test can hand it a changed line."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources: Final = dict(sources)
        """Lua by script name, ready to load."""
        self.digests: Final = {name: _digest(source) for name, source in self.sources.items()}
        """What `EVALSHA` calls each by."""

    @classmethod
    def load(cls) -> Scripts:
        """The scripts of this version, from the package's `lua` directory."""
        return cls(_SOURCES)

    def add(self, source: str) -> str:
        """Take in a script by its text, once. Returns its name, which is the text itself. Threads may add at once."""
        if source not in self.sources:
            self.digests[source] = _digest(source)
            self.sources[source] = source  # last, since another thread that finds it looks for the digest next
        return source

    def publishing_to_shards(self) -> Scripts:
        """A copy for a cluster: what is published about a stream stays with the servers of its slot, unless none of
        them knows of a subscriber there, or of such channels at all."""
        return Scripts(
            {
                name: _TO_SHARDS + found[0] if (found := _PUBLISH.subn("publish(meta_key", source))[1] else source
                for name, source in self.sources.items()
            }
        )

    def replacing(self, name: str, old: str, new: str) -> Scripts:
        """A copy in which one piece of one script reads differently, to see that a test notices.

        Raises:
            ValueError: `old` does not occur exactly once.
        """
        source = self.sources[name]
        if source.count(old) != 1:
            raise ValueError(f"{name}.lua holds {old!r} {source.count(old)} times, not once")
        return Scripts({**self.sources, name: source.replace(old, new)})
