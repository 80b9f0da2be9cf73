"""Fills Redis with finished sessions: copies of the keys of one real session."""

from __future__ import annotations

import re
from typing import Final

import redis

__all__ = ["keep_finished"]

_TAG: Final = re.compile(rb"\{([^}]+)\}")
_BATCH: Final = 500
_COPY: Final = """
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  for _, key in ipairs(KEYS) do
    local copy = string.gsub(key, '{', '{bench' .. number .. '-', 1)
    redis.call('COPY', key, copy)
  end
end
"""


def keep_finished(port: int, sessions: int) -> int:
    """Copy every key of one finished session `sessions` times, each copy under a session of its own, with its TTL.

    Args:
        port: of a Redis in which at least one session has finished.

    Returns:
        How many keys were made.
    """
    with redis.Redis(host="127.0.0.1", port=port, socket_timeout=60.0) as client:
        logs = [key for key in client.scan_iter(count=1000) if b":l:" in key and b"{bench" not in key]
        tag = _TAG.search(logs[0])
        assert tag is not None
        keys = list(client.scan_iter(match=b"*{" + tag[1] + b"}*", count=1000))
        before = int(client.dbsize())
        script = client.register_script(_COPY)
        for first in range(1, sessions + 1, _BATCH):
            script(keys=keys, args=[first, min(sessions, first + _BATCH - 1)])
        return int(client.dbsize()) - before
