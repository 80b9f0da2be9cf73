"""`Run`: an endpoint's handle on the stream that it produces."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ...errors import ConfigurationError, MessageInvalidError, NotStartedError
from ...faults import Fault, FaultCode, Phase, Severity
from ...messages import Role
from ...runtime import LiveStream
from ...saving.pending_write import SAVE
from ...wire.base import LeftOut
from ...wire.values import encode_json, normal
from .message_save import MessageSave
from .threaded_iterator import ThreadedIterator
from .user_message import MessageInput, check_count, derived_id, read_message

__all__ = ["Run"]

MAX_USAGE: Final = 2**53 - 1
MAX_TEXT: Final = 2_000
"""Characters of a notice's text, reason or action: longer ones are cut."""


class Run:
    """The handle of one stream, inside its endpoint: declare a parameter `run: Run`.

    Its methods may be called from any thread. From a sync generator they take effect in order with its items.
    """

    def __init__(self, stream: LiveStream) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._saved = 0
        """How many messages were given to `save`."""
        self._supersedes = False
        """Whether one of them supersedes."""
        self._noticed: dict[FaultCode, str] = {}
        """The fault of which observers were told, of each code of a notice: later ones of the code have its id."""

    @property
    def session_id(self) -> str:
        """The conversation."""
        return self._stream.ref.key.session_id

    @property
    def owner(self) -> str:
        """The owner of the conversation, as `authenticate` named it."""
        return self._stream.ref.key.owner

    @property
    def stream_id(self) -> str:
        """This reply's stream."""
        return self._stream.ref.stream_id

    @property
    def message_id(self) -> str:
        """The reply's id, which clients get too."""
        return self._stream.message_id

    @property
    def request_id(self) -> str | None:
        """The request that started it."""
        return self._stream.request_id

    @property
    def stopped(self) -> bool:
        """Whether the user stopped the stream. Async endpoints are cancelled then; sync ones may check and return."""
        return self._stream.stopped

    @property
    def resumable(self) -> bool:
        """Whether a client that loses its connection can resume the stream: false once the log is lost."""
        return not self._stream.degraded

    def notice(
        self,
        code: FaultCode | str | Fault,
        *,
        message: str | None = None,
        phase: Phase | None = None,
        reason: str | None = None,
        retryable: bool | None = None,
        actions: tuple[str, ...] = (),
    ) -> None:
        """Tell the client something without ending the stream. It is logged, so that a client that resumes gets it too.

        Args:
            code: one of `FaultCode`, or a `Fault` of your own, which is sent as it is (a fatal one as an error, since
                a notice ends no stream).
            message: safe to show; the code's own text otherwise.
            phase: where the fault happened; the code's own phase otherwise.
            reason: a short machine-readable word.
            retryable: whether a retry may help.
            actions: names of what the user could do, for your own client.

        Notices count towards `max_stream_events` and `max_stream_bytes`, of which they may take a tenth. Notices past
        that are dropped, and the stream's end says how many. They never end the stream. Observers, and so the log, are
        told of the first notice of each code; later ones of that code have the same `fault_id`.

        Raises:
            ValueError: there is no such code.
        """
        if isinstance(code, Fault):
            fault = code
            if fault.severity is Severity.FATAL:
                fault = replace(fault, severity=Severity.ERROR)
        else:
            fault = Fault.of(
                FaultCode(code),
                severity=Severity.WARNING,
                message=message,
                phase=phase,
                reason=reason,
                retryable=retryable,
                actions=actions,
            )
        fault = replace(
            fault,
            message=_text(fault.message),
            reason=None if fault.reason is None else _text(fault.reason),
            actions=tuple(map(_text, fault.actions)),
            session_id=self.session_id,
            stream_id=self.stream_id,
            message_id=self.message_id,
            request_id=self.request_id,
        )

        def tell() -> None:
            known = self._noticed.get(fault.code)
            told = self._stream.notices.tell(fault if known is None else replace(fault, fault_id=known))
            if told and known is None:
                self._noticed[fault.code] = fault.fault_id
                self._stream.callbacks.on_notice(self._stream, fault)

        self._on_loop(tell)

    def usage(self, **amounts: int) -> None:
        """Add `amounts` to what the reply consumed, by unit: `run.usage(input_tokens=812, output_tokens=40)`.

        Raises:
            ValueError: an amount is not an integer from 0 to 2**53-1.
        """
        counted: dict[str, int] = {}
        for unit, amount in amounts.items():
            try:
                count = -1 if isinstance(amount, bool) else operator.index(amount)
            except TypeError:
                count = -1
            if not 0 <= count <= MAX_USAGE:
                raise ValueError(f"usage {_text(unit)} must be an integer from 0 to 2**53-1, not {amount!r}")
            counted[_text(unit)] = count
        self._on_loop(lambda: self._stream.usage(**counted))

    def save(self, message: MessageInput, *, supersede: bool = False) -> MessageSave:
        """Save the user's message, before the reply that answers it: once, however often the request is repeated.

        The message is written while the endpoint goes on, and has been written before the reply is saved. To commit it
        before you call the model, await the result: a failure then ends the stream unless you catch it, with 503
        `persistence_failed` if nothing was sent yet. In a sync endpoint, call `run.save(…).result()`.

        Args:
            message: a UI message of AI SDK (`{"id", "role", "parts"}`, as a mapping or a pydantic model), a `Message`,
                or a text. A text's id is made of the session, the text, its place among those of this request, and
                the request's `Idempotency-Key`: a retry with the same key adds no second message, and without a key
                each request adds its own. The assistant message that this stream continues is not replaced: the
                results of tools and the approvals that the client added to it are taken over.
            supersede: the message replaces the stored message of its id, and every message after that becomes an old
                branch, which the page no longer shows. Once in a request. A request of AI SDK that edits a question,
                or asks for an answer again, supersedes by itself; nothing else does, and a late retry never does.

        The content of a message is treated like a part: text becomes valid, and values that JSON does not have are
        replaced, with a notice.

        Raises:
            ConfigurationError: this endpoint saves no messages; or a second message is to supersede.
            MessageInvalidError: this is no message, or its id is invalid (over 256 bytes, say); or it has more than
                10,000 parts, or is the 1,001st of this request; or an assistant's message is to supersede.
            StreamLimitError: the messages of this request together are over `max_stream_bytes`.
        """
        stream = self._stream
        messages = stream.user_messages
        if messages is None:
            raise ConfigurationError(
                "run.save needs somewhere to save to: give the guard messages=…, or the endpoint save=…"
            )
        check_count(self._saved + 1)
        if supersede and self._supersedes:
            raise ConfigurationError("run.save(…, supersede=True) is called once in a request")
        self._saved += 1
        text = message if isinstance(message, str) else ""
        names = (self.owner, self.session_id, stream.request.retry_key or self.stream_id, str(self._saved), text)
        saved, size_bytes, replaced = read_message(message, derived_id(*names))
        if supersede and saved.role is Role.ASSISTANT:
            raise MessageInvalidError(f"{SAVE}: an assistant's message supersedes nothing", operation=SAVE)
        stream.backlog.bounds.count_message(size_bytes)
        self._supersedes = self._supersedes or supersede
        handle = MessageSave(saved.message_id, self._loop, self._loop_thread)

        def add() -> None:
            if replaced:
                stream.notices.left_out(LeftOut("message", replaced), user_message_id=saved.message_id)
            try:
                handle.follow(messages.add(saved, supersede=supersede))
            except NotStartedError:
                handle.refuse()

        self._on_loop(add, handle.refuse)
        return handle

    def _on_loop(self, call: Callable[[], object], refuse: Callable[[], object] = lambda: None) -> None:
        """Run `call` on the event loop; if that is closed, run `refuse` instead, in any thread."""
        if threading.get_ident() == self._loop_thread:
            call()
            return
        iterator = ThreadedIterator.of_this_thread()
        if iterator is not None and iterator.stream is self._stream:
            iterator.post(call, refuse)
        else:
            try:
                self._loop.call_soon_threadsafe(call)
            except RuntimeError:
                refuse()


def _text(value: str) -> str:
    """A host's text for a notice: valid, of bounded length, and a text even if the value is none."""
    normalised, _ = normal(value)
    text = normalised if isinstance(normalised, str) else encode_json(normalised).data.decode()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
