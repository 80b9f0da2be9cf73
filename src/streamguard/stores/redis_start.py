"""What an operator should know about the Redis server before streams depend on it."""

from __future__ import annotations

import re

from ._redis import Command
from .redis_lanes import Lanes

__all__ = ["inspect_server"]

_OLDEST = (6, 2)


async def inspect_server(lanes: Lanes, address: str) -> list[str]:
    """Warnings about the server's version and eviction policy. An account that may not run INFO gets none.

    Raises:
        StoreUnavailableError: the server does not answer.
    """
    replies = await lanes.run("start", [Command.of("INFO", "server"), Command.of("INFO", "memory")])
    text = b"\n".join(reply for reply in replies if isinstance(reply, bytes))
    facts = dict(re.findall(r"^(redis_version|maxmemory_policy):([^\r\n]*)", text.decode("utf-8", "replace"), re.M))
    warnings = []
    numbers = re.findall(r"\d+", facts.get("redis_version", ""))
    version = tuple(int(number) for number in numbers[:2])
    if version and version < _OLDEST:
        warnings.append(f"Redis at {address} is version {facts['redis_version']}; streamguard needs 6.2 or later")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"Redis at {address} evicts keys when memory is full (maxmemory-policy {policy}), live streams among them; "
            "set it to noeviction"
        )
    return warnings
