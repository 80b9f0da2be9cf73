"""The end steps (saving, charging) for a stream that this process produced."""

from __future__ import annotations

from functools import partial

from ...errors import StoreError
from ...saving.end_steps import EndResult, EndSteps, LocalStream
from ...stores.breaker import Breaker
from ...stores.records import UNTOLD, Seal
from ...stores.roles.stream_log import StreamLog
from ..producing.stream import LiveStream
from ..producing.stream_records import sealed_stream_of

__all__ = ["LocalSteps"]


class LocalSteps:
    """Tells the end steps what they ask about a stream of this process."""

    def __init__(self, steps: EndSteps, store: StreamLog, breaker: Breaker) -> None:
        self._steps = steps
        self._store = store
        self._breaker = breaker

    async def finish(self, stream: LiveStream, seal: Seal) -> EndResult:
        """Finish a stream whose log is whole."""
        return await self._steps.finish(sealed_stream_of(stream, seal), self._local(stream))

    async def finish_unlogged(self, stream: LiveStream, seal: Seal) -> EndResult:
        """Finish a stream whose log or seal cannot be written, from what this process has of it."""
        feed = stream.feed
        return await self._steps.finish_unlogged(
            sealed_stream_of(stream, seal),
            self._local(stream),
            feed.all_data() if stream.saved else (),
            after_seq=feed.base,
        )

    def _local(self, stream: LiveStream) -> LocalStream:
        return LocalStream(
            user_messages=stream.user_messages, owned=stream.owned, disowned=partial(self._is_disowned, stream)
        )

    async def _is_disowned(self, stream: LiveStream) -> bool:
        """Whether another worker owns a stream that this one could not log, as far as the store says."""
        if stream.owned() and not stream.log.disowned and not self._breaker.open:
            try:
                meta = await self._store.meta(stream.ref)
            except StoreError:
                meta = None
            if meta is not None and stream.owned():  # a heartbeat may have told it meanwhile
                taken = meta.taken if stream.epoch == UNTOLD else meta.epoch != stream.epoch
                if taken:
                    stream.disown()
        return stream.log.disowned or not stream.owned()
