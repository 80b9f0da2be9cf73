"""The tombstone: the one record that ends a log which is not the whole stream."""

from __future__ import annotations

from dataclasses import replace

from ...errors import StoreCorruptError
from ...saving.end_steps import EndResult
from ...settings import Settings
from ...stores.appends import AppendReply
from ...stores.records import LostLog, Status, Terminal
from ...stores.roles.stream_writes import StreamWrites
from ...values import EventKind
from ..producing.log_tally import LogTally
from ..producing.stream import LiveStream
from ..producing.stream_records import new_stream_of
from ..request import Ending
from ..viewing.log_events import LOG_LOST
from .end_reports import EndReports
from .store_attempts import StoreAttempts

__all__ = ["Tombstone"]


class Tombstone:
    """Writes one terminal record with the real outcome, and nothing else, once the store is back."""

    def __init__(
        self,
        store: StreamWrites,
        attempts: StoreAttempts,
        settings: Settings,
        *,
        tally: LogTally | None,
        reports: EndReports,
    ) -> None:
        self._store = store
        self._tally = tally
        self._attempts = attempts
        self._settings = settings
        self._reports = reports

    async def write(self, stream: LiveStream, ending: Ending, result: EndResult) -> None:
        """Write it, unless another worker owns the record, and report the stream's end."""
        result = await result.when_saved()
        if not stream.log.disowned:
            try:
                reply = await self._declare_lost(stream, ending, result)
            except StoreCorruptError:  # the record cannot be read, so this stream must not change it
                stream.disown()
            else:
                if reply is not None and reply.status in (Status.FENCED, Status.SEALED):
                    stream.disown()
            result = replace(result, quota=result.quota_now)
        self._reports.ended(stream, ending.outcome, result, ending.fault)

    async def _declare_lost(self, stream: LiveStream, ending: Ending, result: EndResult) -> AppendReply | None:
        written = result.quota

        async def declare() -> AppendReply:
            nonlocal written
            written = result.quota_now
            terminal = Terminal(ending.outcome, result.persisted, written, stream.message_id, ending.fault, LOG_LOST)
            retention = self._settings.finished_ttl_seconds
            reply = await self._store.declare_lost(
                LostLog(new_stream_of(stream), stream.epoch, 0.0, retention, terminal)
            )
            if self._tally is not None and reply.status in (Status.OK, Status.DUPLICATE):
                self._tally.ended([(EventKind.TERMINAL, terminal.to_json())])
            return reply

        reply = await self._attempts.until_given_up(declare)
        if result.quota_now is not written:  # the quota was result while the record was on its way
            await self._attempts.until_given_up(lambda: self._store.update_meta(stream.ref, quota=result.quota_now))
        return reply
