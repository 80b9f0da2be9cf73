"""Ending a stream that is in the way: its writer is gone, or a request replaces it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from ...errors import StoreUnavailableError
from ...settings import Settings
from ...stores.budget import Budget
from ...stores.records import Status, StreamMeta
from ...stores.registrations import StopReply
from ...stores.store import StreamStore
from ...values import Outcome, StreamState
from ..request import StreamRequest
from .end_wait import EndWait, ask_once
from .refusals import Refusals
from .steps_in_doubt import StepsInDoubt

__all__ = ["Eviction"]


class Eviction:
    """Ends streams that are in the way of a request, an erasure or a stop.

    `end_soon` runs the end of a stream that this process has taken over, its seal included, in a task of the runtime's.
    `run_detached` runs a step in such a task and returns its result: cancelling the caller lets the step go on.
    `worker` is this runtime's id among all workers.
    """

    def __init__(
        self,
        store: StreamStore,
        settings: Settings,
        *,
        end_wait: EndWait,
        steps_in_doubt: StepsInDoubt,
        refusals: Refusals,
        end_soon: Callable[[StreamMeta, Outcome], None],
        run_detached: Callable[[Callable[[], Awaitable[bool]]], Awaitable[bool]],
        worker: str,
    ) -> None:
        self._store = store
        self._settings = settings
        self._end_wait = end_wait
        self._steps_in_doubt = steps_in_doubt
        self._refusals = refusals
        self._end_soon = end_soon
        self._run_detached = run_detached
        self._worker = worker

    async def take_over(
        self, meta: StreamMeta, *, stopped: bool, force: bool = False, budget: Budget | None = None
    ) -> bool:
        """Become the owner of an expired stream (or any, with `force`), run its end, and wait for its seal. `budget` is
        that of the request which the stream is in the way of.

        Returns whether the stream is sealed now, by this worker or another. Cancelling it lets the takeover go on: a
        stream that is taken and not ended would block its session for another lease.

        Raises:
            StoreError: the store failed.
        """
        return await self._run_detached(partial(self._take_over, meta, stopped=stopped, force=force, budget=budget))

    async def replace(self, request: StreamRequest, meta: StreamMeta, budget: Budget) -> None:
        """End the session's stream by a stop, and by force if its writer does not end it in time.

        Raises:
            FaultError: `store_unavailable` for a stream of a later version.
            StoreError: the store failed.
        """
        reply = await budget.ask(lambda: self._store.request_stop(meta.ref))
        if reply is StopReply.ENDED:
            return
        patience = self._settings.replace_wait_seconds
        if reply is StopReply.REQUESTED and await self._end_wait.until_sealed(meta.ref, patience, budget=budget):
            return
        current = await budget.ask(lambda: self._store.meta(meta.ref))
        if current is not None and current.state is StreamState.OPEN:
            self._refusals.check_protocol(request, current)
            await self.take_over(current, stopped=True, force=True, budget=budget)

    async def _take_over(self, meta: StreamMeta, *, stopped: bool, force: bool, budget: Budget | None) -> bool:
        outcome = Outcome.STOPPED if stopped else Outcome.INTERRUPTED
        try:
            reply = await ask_once(
                budget,
                lambda: self._store.take_over(
                    meta.ref,
                    lease_seconds=self._settings.lease_seconds,
                    expected_epoch=meta.epoch,
                    force=force,
                    worker=self._worker,
                ),
            )
        except StoreUnavailableError:
            self._steps_in_doubt.resolve(meta.ref, partial(self._end_if_taken, meta, outcome))
            raise
        if reply.status is not Status.OK or reply.meta is None:
            return reply.status in (Status.SEALED, Status.GONE)
        taken = reply.meta
        self._end_soon(taken, outcome)
        if taken.state is not StreamState.OPEN:
            return True
        # A stream that lost its log cannot be sealed: only its tombstone frees the session.
        return await self._end_wait.until_sealed(taken.ref, self._settings.append_deadline_seconds, budget=budget)

    async def _end_if_taken(self, meta: StreamMeta, outcome: Outcome) -> None:
        """End a stream that this worker may have taken without hearing so. If another worker took it, that worker loses
        it to this one, which ends it just as well."""
        current = await self._store.meta(meta.ref)
        if current is None or current.state is not StreamState.OPEN or current.epoch == meta.epoch:
            return  # gone, ended by another, or not taken: the next request finds it as it was
        reply = await self._store.take_over(
            meta.ref,
            lease_seconds=self._settings.lease_seconds,
            expected_epoch=current.epoch,
            force=True,
            worker=self._worker,
        )
        if reply.status is Status.OK and reply.meta is not None:
            self._end_soon(reply.meta, outcome)
