"""Work that is owed in great number, in a Redis."""

from __future__ import annotations

import redis

from streamguard.stores.redis.keys import Keys, encode_member
from streamguard.values import SessionKey, StreamRef

KEYS = Keys("streamguard")


def fill_outbox(client: redis.Redis, ref: StreamRef, number: int) -> None:
    """Half of it due, half given up, each in a session of its own, and like what `ref` owes."""
    record = client.dump(KEYS.stream(ref).meta)
    assert record is not None
    at = int(client.time()[0]) * 1_000
    with client.pipeline(transaction=False) as pipe:
        for n in range(number):
            other = StreamRef(SessionKey(ref.key.owner, f"owing-{n}"), f"{n:024x}")
            pipe.restore(KEYS.stream(other).meta, 600_000, record, replace=True)
            score = -(at + 600_000 + n) if n % 2 else at - n
            pipe.zadd(KEYS.outbox_shard(other), {encode_member(other): score})
        pipe.execute()
    for shard in KEYS.outbox_shards():
        client.pexpire(shard, 600_000)


def bytes_sent(client: redis.Redis) -> int:
    """How many bytes the server has sent, this answer not counted."""
    return int(client.info("stats")["total_net_output_bytes"])
