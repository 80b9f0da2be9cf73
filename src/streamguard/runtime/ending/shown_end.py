"""The end that the viewers in this process are given."""

from __future__ import annotations

from collections.abc import Sequence

from ...saving.end_steps import EndResult
from ...stores.appends import AppendReply
from ...stores.records import Close, Status, Terminal
from ...values import EventKind
from ..producing.stream import LiveStream
from ..request import Ending
from ..viewing.log_events import LOG_LOST
from .end_events import end_events, events_of

__all__ = ["show_close", "show_unlogged_end"]


def show_close(stream: LiveStream, close: Close, reply: AppendReply, held: Sequence[bytes], result: EndResult) -> None:
    """Give viewers what the store made of a close."""
    if reply.status in (Status.OK, Status.DUPLICATE):
        _tell_request(stream, close.terminal)
        stream.end_logged(events_of(close))
    elif reply.status is Status.FENCED:
        stream.supersede()
        stream.finish()  # viewers follow the new owner
    else:  # the log vanished between seal and close: it was erased, or the store came back empty
        show_unlogged_end(stream, Ending(close.terminal.outcome, close.terminal.fault), held, result)


def show_unlogged_end(stream: LiveStream, ending: Ending, held: Sequence[bytes], result: EndResult) -> None:
    """Give viewers the stream's end without ids: it is not in the log."""
    events = end_events(stream.protocol, ending.outcome, ending.fault, held, result)
    terminal = Terminal(ending.outcome, result.persisted, result.quota, stream.message_id, ending.fault, LOG_LOST)
    _tell_request(stream, terminal)
    stream.end_unlogged([*events, (EventKind.TERMINAL, terminal.to_json())])


def _tell_request(stream: LiveStream, terminal: Terminal) -> None:
    if stream.request.on_end is not None:
        stream.request.on_end(terminal)
