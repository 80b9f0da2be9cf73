"""`Run`: what an endpoint may know of, and do to, the stream it is producing."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import operator
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from ...errors import ConfigurationError, MessageInvalidError, MessageUnavailableError, NotStartedError
from ...faults import Fault, FaultCode, Phase, Severity
from ...messages import Role
from ...runtime import LiveStream
from ...saving.entry import SAVE, Entry
from ...wire.base import LeftOut
from ...wire.values import encode_json, normal
from .threaded_iterator import ThreadedIterator
from .user_message import Incoming, check_count, derived_id, message_of

__all__ = ["MessageSave", "Run"]

MAX_USAGE: Final = 2**53 - 1
LOOK_SECONDS: Final = 0.5
"""How often a thread that waits for a save looks whether the event loop is still there."""
MAX_TEXT: Final = 2_000
"""Characters of a notice's text, reason or action: longer ones are cut."""


class MessageSave:
    """A message on its way into the message store. Await it to wait for the commit; nothing needs to."""

    def __init__(self, message_id: str, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        self.message_id = message_id
        """The id it is stored under."""
        self._loop = loop
        self._loop_thread = loop_thread
        self._future: concurrent.futures.Future[None] = concurrent.futures.Future()

    def __await__(self) -> Generator[object, None, None]:
        """Wait until it is committed. Cancelling that does not keep it from being saved.

        Raises:
            MessageStoreError: it was not, for now or for good: see its `retryable`. What may pass is tried again when
                the reply is saved.
        """
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    def result(self, timeout_seconds: float | None = None) -> None:
        """The same for sync endpoints: blocks their thread, but never longer than the message is tried.

        Raises:
            MessageStoreError: as when awaited; also when the runtime ended before it was tried.
            TimeoutError: not within `timeout_seconds`; it goes on.
            ConfigurationError: called on the event loop, which it would stop.
        """
        if threading.get_ident() == self._loop_thread:
            raise ConfigurationError("await what run.save gives; result() is for endpoints that run in a thread")
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            try:
                return self._future.result(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
            if self._loop.is_closed():  # whoever was to settle it is gone
                self.refused()

    def refused(self) -> None:
        """Nobody is left to save it. From any thread; not for endpoints to call."""
        with suppress(concurrent.futures.InvalidStateError):
            self._future.set_exception(
                MessageUnavailableError(f"{SAVE}: its stream is over, and nothing is saved for it here", operation=SAVE)
            )

    def entered(self, entry: Entry) -> None:
        """Follow the message from here on; called on the event loop. Not for endpoints to call."""

        def settle() -> None:
            error = entry.failure()
            with suppress(concurrent.futures.InvalidStateError):
                if error is None:
                    self._future.set_result(None)
                else:
                    self._future.set_exception(error)

        entry.when_tried(settle)


class Run:
    """The handle of one stream, inside its endpoint: declare a parameter `run: Run`.

    Its methods may be called from any thread. From a sync generator they take effect in order with its items.
    """

    def __init__(self, stream: LiveStream) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._iterator: ThreadedIterator | None = None
        self._saved = 0
        """How many messages were given to `save`."""
        self._supersedes = False
        """Whether one of them was to supersede."""

    @property
    def session_id(self) -> str:
        """The conversation."""
        return self._stream.ref.key.session_id

    @property
    def owner(self) -> str:
        """Whose it is, as `authenticate` said."""
        return self._stream.ref.key.owner

    @property
    def stream_id(self) -> str:
        """This reply's stream."""
        return self._stream.ref.stream_id

    @property
    def message_id(self) -> str:
        """The id under which clients know the reply."""
        return self._stream.message_id

    @property
    def request_id(self) -> str | None:
        """The request that started it."""
        return self._stream.request_id

    @property
    def stopped(self) -> bool:
        """Whether its user stopped it. Async endpoints are cancelled then; sync ones may look here and return."""
        return self._stream.stopped

    @property
    def resumable(self) -> bool:
        """Whether a client that loses its connection can come back to it: false once its log is lost."""
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
        """Tell the client something without ending the stream. It is logged, so a late resumer sees it too.

        Args:
            code: one of `FaultCode`, or a `Fault` made elsewhere, which is sent as it is (a fatal one
                as an error: only its end ends a stream).
            message: safe to show; the code's own text otherwise.
            phase: where it happened; the code's own phase otherwise.
            reason: a short machine-readable word.
            retryable: whether asking again may help.
            actions: names of what the user could do, for your own client.

        Notices count towards `max_stream_events` and `max_stream_bytes`, of which they may take a tenth. Those past
        that are dropped, and their number is told with the stream's end; they never end the answer.

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
        self._on_loop(lambda: self._stream.notice(fault))

    def usage(self, **amounts: int) -> None:
        """Add to what the reply consumed, by unit: `run.usage(input_tokens=812, output_tokens=40)`.

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

    def save(self, message: Incoming, *, supersede: bool = False) -> MessageSave:
        """Save the user's message, before the reply that answers it: once, however often the request is repeated.

        It is written concurrently with whatever comes next, and joined before the reply is saved. To have it committed
        before the model is called, await it: a failure then ends the stream, with 503 `persistence_failed` if nothing
        was said yet, unless it is caught. `run.save(…).result()` does so in a sync endpoint.

        Args:
            message: a UI message of AI SDK (`{"id", "role", "parts"}`, as a mapping or a pydantic model), a `Message`,
                or a text. A text's id is made of the session, the text, its place among those of this request, and
                the request's `Idempotency-Key`: a repetition that carries the same one duplicates nothing, and without
                one each request brings a text of its own. The assistant message that this stream continues is not
                replaced: results of tools and approvals that the client added to it are taken over.
            supersede: It takes the place of the stored message of its id, and all that followed that one becomes an old
                branch, which the page shows no more. Once in a request. A request of AI SDK that edits a question, or
                has an answer written again, supersedes by itself; nothing else does, least of all a late repetition.

        Of what a message holds the same is true as of a part: text becomes valid, and what has no form in JSON is
        replaced, with a notice.

        Raises:
            ConfigurationError: nothing of this endpoint is saved; or this is the second to supersede.
            MessageInvalidError: it is no message, or its id is none: over 256 bytes, say; or it has more than 10,000
                parts, or is the 1,001st of this request; or an assistant's message is to supersede.
            StreamLimitError: all that was given to `save` is over `max_stream_bytes`.
        """
        stream = self._stream
        before = stream.user_messages
        if before is None:
            raise ConfigurationError(
                "run.save needs somewhere to save to: give the guard messages=…, or the endpoint save=…"
            )
        check_count(self._saved + 1)
        if supersede and self._supersedes:
            raise ConfigurationError("run.save(…, supersede=True) is called once in a request")
        self._saved += 1
        text = message if isinstance(message, str) else ""
        names = (self.owner, self.session_id, stream.request.retry_key or self.stream_id, str(self._saved), text)
        saved, size_bytes, replaced = message_of(message, derived_id(*names))
        if supersede and saved.role is Role.ASSISTANT:
            raise MessageInvalidError(f"{SAVE}: an assistant's message supersedes nothing", operation=SAVE)
        stream.bring(size_bytes)
        self._supersedes = self._supersedes or supersede
        handle = MessageSave(saved.message_id, self._loop, self._loop_thread)

        def enter() -> None:
            if replaced:
                stream.left_out(LeftOut("message", replaced), user_message_id=saved.message_id)
            try:
                handle.entered(before.add(saved, supersede=supersede))
            except NotStartedError:
                handle.refused()

        self._on_loop(enter, handle.refused)
        return handle

    def driven_by(self, iterator: ThreadedIterator) -> None:
        """The endpoint is a sync generator, run by `iterator`. Not for endpoints to call."""
        self._iterator = iterator

    def _on_loop(self, call: Callable[[], object], refuse: Callable[[], object] = lambda: None) -> None:
        """Have `call` run on the event loop; `refuse`, in any thread, where that is gone."""
        if threading.get_ident() == self._loop_thread:
            call()
        elif self._iterator is not None and self._iterator.runs_in_this_thread():
            self._iterator.post(call, refuse)
        else:
            try:
                self._loop.call_soon_threadsafe(call)
            except RuntimeError:
                refuse()


def _text(given: str) -> str:
    """A text from a host for a notice: valid, of bounded length, and a text whatever it was."""
    found, _ = normal(given)
    text = found if isinstance(found, str) else encode_json(found).data.decode()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
