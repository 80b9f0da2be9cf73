"""What the end steps ask about a stream that this process produced."""

from __future__ import annotations

from functools import partial

from ...errors import StoreError
from ...saving.end_steps import LocalStream
from ...stores.breaker import Breaker
from ...stores.records import UNTOLD
from ...stores.store import StreamStore
from ..producing.stream import LiveStream

__all__ = ["local_stream_of"]


def local_stream_of(stream: LiveStream, store: StreamStore, breaker: Breaker) -> LocalStream:
    """A stream of this process, for the end steps."""
    return LocalStream(
        user_messages=stream.user_messages,
        owned=stream.owned,
        disowned=partial(_is_disowned, stream, store, breaker),
    )


async def _is_disowned(stream: LiveStream, store: StreamStore, breaker: Breaker) -> bool:
    """Whether another worker owns a stream that this one could not log, as far as the store says."""
    if not stream.log.disowned and not breaker.open:
        try:
            meta = await store.meta(stream.ref)
        except StoreError:
            return False
        if meta is not None:
            taken = meta.taken if stream.epoch == UNTOLD else meta.epoch != stream.epoch
            if taken:
                stream.disown()
    return stream.log.disowned
