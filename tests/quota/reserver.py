"""Reserves and settles from a process of its own: `python -m tests.quota.reserver URL NAME COUNT LIMIT`.

Says `ready`, waits for a line, then asks for COUNT reservations of one token at once, of an owner whom every reserver
shares. Says how many were admitted, waits for a line, settles all of those and says what that charged.
"""

from __future__ import annotations

import asyncio
import json
import sys

from streamguard.quota import Admitted, Quota, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.testing._quota_store.steps import LONG
from streamguard.values import SessionKey, StreamRef

__all__ = ["OWNER", "budget"]

OWNER = "everybody"


def budget(limit: int) -> Quota:
    return Quota(limit, LONG)


async def _main(url: str, name: str, count: str, limit: str) -> None:
    async with RedisClient(url, command_seconds=30) as client:
        store = RedisQuotaStore(client, hold_seconds=600)
        refs = [StreamRef(SessionKey(OWNER, name), f"{name}-{number}") for number in range(int(count))]
        await _turn("ready")
        answers = await asyncio.gather(*(store.reserve(ref, {"tokens": 1}, [budget(int(limit))]) for ref in refs))
        admitted = [ref for ref, answer in zip(refs, answers, strict=True) if isinstance(answer, Admitted)]
        await _turn(json.dumps(len(admitted)))
        settled = await asyncio.gather(
            *(
                store.commit(ref, {"tokens": 1 + n % 2}) if n % 3 else store.release(ref)
                for n, ref in enumerate(admitted)
            )
        )
        print(json.dumps([sum(one.charged.get("tokens", 0) for one in settled), sum(one.changed for one in settled)]))


async def _turn(said: str) -> None:
    """Say something and wait for a line."""
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
