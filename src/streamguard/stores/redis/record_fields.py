"""The fields of a stream's record in Redis: what each is called in Python and in Lua, and how it is stored.

`docs/reference/redis.md` describes them for operators.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

__all__ = ["META_FIELDS", "RECORD_FIELDS"]

META_FIELDS: Final = MappingProxyType(
    {
        "version": "v",  # format version
        "message_id": "mi",
        "protocol": "pr",
        "identity": "id",  # what never changes of it, JSON: see `identities`
        "client_version": "cv",  # of the client it is written for; absent where that is not known
        "ordinal": "o",
        "epoch": "e",
        "last_writer": "eb",  # which epoch wrote event `taken_seq`; absent while the epoch was never raised
        "taken_seq": "nb",  # the last event when the epoch was last raised
        "state": "s",  # o(pen), s(ealed), c(losed)
        "last_seq": "n",
        "lease_until": "d",  # ms on the server's clock
        "stop": "p",  # 1 once a stop was asked for; else absent
        "lost": "x",  # 1 once its log was declared lost; else absent
        "seal": "g",  # outcome and fault, JSON
        "seal_seq": "gl",  # the seal's last event
        "usage": "u",  # JSON: the seal's; before there is one, as of the last heartbeat
        "held": "h",  # the seal's closing parts, packed
        "persisted": "y",  # absent until something is known of it
        "quota": "q",  # likewise
        "revised": "rv",  # a later request superseded its reply
        "began_us": "c",  # µs on the server's clock
        "closed_ms": "z",  # ms on the server's clock
        "viewed_ms": "va",  # viewed outside its writer's process at, ms on the server's clock
        "worker": "wk",  # the worker that writes it; absent for one that is told nothing
    }
)
"""What a snapshot holds, in its order."""

RECORD_FIELDS: Final = MappingProxyType(
    {
        **META_FIELDS,
        "ttl_ms": "t",  # what appends renew
        "watched_until": "w",  # ms on the server's clock; absent if it never was
        "payload": "j",  # of the outbox
        "attempts": "ja",  # how often the work owed failed
        "reason": "jr",  # why it failed last
        "dead": "jd",  # 1 for a dead letter
        "left_since": "ju",  # since when no worker knew its endpoint, ms on the server's clock
        "previous_last": "pl",  # what the session's `last` was before it
        "previous_created": "pc",  # and its `created`
    }
)
"""All fields. A script writes `@name@` for the name that a field has in Redis."""
