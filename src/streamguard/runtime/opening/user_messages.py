"""What is written before a stream's reply, from when the stream is asked for."""

from __future__ import annotations

from ...saving.service import Saving
from ..producing.stream import LiveStream
from ..producing.stream_records import stream_start_of

__all__ = ["ask_for_session", "begin_user_messages"]


def ask_for_session(saving: Saving, stream: LiveStream) -> None:
    """A stream that is to be saved is about to be registered: open its session meanwhile, if its message store may
    refuse that."""
    if saving.may_forbid(stream.request.binding):
        begin_user_messages(saving, stream)


def begin_user_messages(saving: Saving, stream: LiveStream) -> None:
    """A stream that is to be saved begins: open its session, if that was not done."""
    if stream.user_messages is not None:
        stream.user_messages.began(stream_start_of(stream))
        return
    user_messages = saving.user_messages(
        stream.ref,
        stream.message_id,
        binding=stream.request.binding,
        began=stream_start_of(stream),
        revision=stream.request.revision,
        on_continued=stream.speaking.answered,
    )
    if user_messages is not None:
        stream.save_after(user_messages)
