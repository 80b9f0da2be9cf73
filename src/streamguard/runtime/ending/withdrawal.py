"""A stream whose endpoint answered with no stream: its registration is taken back, as if it had never been made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from ...errors import StoreCorruptError
from ...observations import Observation, Observer, Signal
from ...saving.end_steps import NOTHING_DONE
from ...settings import Settings
from ...stores.breaker import Breaker
from ...stores.records import Status
from ...stores.roles.stream_registry import StreamRegistry
from ...values import StreamRef
from ..producing.stream import LiveStream
from ..request import Ending
from .shown_end import show_unlogged_end
from .store_attempts import StoreAttempts

__all__ = ["Withdrawal"]

REFUSE_SECONDS: Final = 60.0
"""For how long the store refuses the registration of a stream that began without an answer to it: longer than any
command waits in a connection."""


class Withdrawal:
    """Takes back what was begun for a stream that said nothing and owes nothing.

    `release` settles its reservation; `withdraw_later` takes the registration back once the store is there again.
    """

    def __init__(
        self,
        store: StreamRegistry,
        breaker: Breaker,
        attempts: StoreAttempts,
        settings: Settings,
        *,
        release: Callable[[LiveStream], Awaitable[None]],
        withdraw_later: Callable[[StreamRef], None],
        observe: Observer,
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._attempts = attempts
        self._settings = settings
        self._release = release
        self._withdraw_later = withdraw_later
        self._observe = observe

    async def end(self, stream: LiveStream, ending: Ending) -> bool:
        """Leave nothing of the stream. Returns False where that cannot be, and nothing was changed: it has events,
        another worker owns it, or a message that its endpoint gave to be saved is not written. Then it ends like any.

        A store that does not answer is asked again in the background; if the process dies before, the stream is an
        orphan, which a reconciler ends. Cancelling this leaves that too.
        """
        if stream.feed.emitted or stream.superseded or stream.log.disowned:
            return False
        saves = stream.user_messages
        if saves is not None and not await saves.are_written(self._settings.save_visible_seconds):
            return False
        if not await self._withdraw(stream):
            return False
        await self._release(stream)
        if stream.feed.viewers:  # they came while nobody knew that there would be no stream
            show_unlogged_end(stream, ending, (), NOTHING_DONE)
        fields: dict[str, str | int | float | bool | None] = {
            "status": ending.status or None,  # not if it is `UNKNOWN_STATUS`
            "seconds": stream.activity.age_seconds,
            "binding": stream.request.binding,
            "protocol": stream.protocol.name,
            "framework": stream.request.framework,
        }
        self._observe(Observation.about(stream, Signal.STREAM_WITHDRAWN, fields=fields))
        return True

    async def _withdraw(self, stream: LiveStream) -> bool:
        log, logged = stream.log, not stream.degraded
        if logged:
            log.begin_withdrawing()
        status = None
        if not self._breaker.open:
            withdraw = partial(self._store.withdraw, stream.ref, refuse_seconds=REFUSE_SECONDS)
            try:
                status = await self._attempts.while_viewers_wait(withdraw)
            except StoreCorruptError:
                status = Status.CORRUPT
        if status in (Status.OK, Status.GONE):
            return True
        if status is None and (logged or not log.registered):
            self._withdraw_later(stream.ref)
            return True
        if logged:
            log.end_withdrawing()
        return False
