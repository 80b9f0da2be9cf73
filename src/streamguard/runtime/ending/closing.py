"""Closing a sealed stream: what the store writes then, and what is done once it has."""

from __future__ import annotations

from ...saving.end_steps import EndResult
from ...settings import Settings
from ...stores.appends import AppendReply
from ...stores.records import Close, Seal, Status, Terminal
from ...stores.store import StreamStore
from ...values import StreamRef
from ...wire.base import WireProtocol
from ..producing.backlog import Backlog
from ..producing.log_tally import LogTally
from .end_events import end_events, events_of

__all__ = ["Closing"]


class Closing:
    """Makes and carries out closes, for streams of this process and for those that it took over."""

    def __init__(self, store: StreamStore, settings: Settings, *, tally: LogTally | None) -> None:
        self._store = store
        self._settings = settings
        self._tally = tally

    def close_of(
        self,
        ref: StreamRef,
        protocol: WireProtocol,
        epoch: int,
        message_id: str,
        seal: Seal,
        result: EndResult,
    ) -> Close:
        """What `carry_out` writes for a seal: result notices, the fault, the protocol's closing parts, the terminal."""
        events = end_events(protocol, seal.outcome, seal.fault, seal.held, result)
        terminal = Terminal(
            seal.outcome, result.persisted, result.quota, message_id, seal.fault, original=seal.original
        )
        settings = self._settings
        retention = (
            settings.finished_ttl_seconds if result.outbox_payload is None else settings.outbox_retention_seconds
        )
        return Close(ref, epoch, events, terminal, retention, result.outbox_payload)

    async def carry_out(self, close: Close, result: EndResult) -> AppendReply:
        """Close, and let what is left go on. The index entry comes first: without one nobody would find what the close
        leaves owed."""
        if close.outbox_payload is not None:
            await self._store.enqueue(close.ref, due_seconds=result.due_seconds)
        reply = await self._store.close(close)
        self.answered(close, reply)
        if reply.status in (Status.OK, Status.DUPLICATE) and result.after_close is not None:
            result.after_close()
        return reply

    def answered(self, close: Close, reply: AppendReply, backlog: Backlog | None = None) -> None:
        """Count what a close wrote; as `LogTally.ended`. A duplicate is a close whose answer was lost."""
        if self._tally is not None and reply.status in (Status.OK, Status.DUPLICATE):
            self._tally.ended(events_of(close), backlog)
