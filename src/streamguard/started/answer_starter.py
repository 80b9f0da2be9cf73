"""The guard's part that begins answers without a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal
from uuid import UUID

from ..runtime import OnStoreFailure
from ..stores.abilities import Ability
from ..web.guard_context import GuardContext
from .start_binding import DEFAULT_BINDING
from .start_options import StartOptions
from .started_stream import StartedStream

__all__ = ["AnswerStarter"]


class AnswerStarter:
    """Begins answers of one guard. `require` raises where the stream store lacks an ability."""

    def __init__(self, context: GuardContext, require: Callable[[Ability], None]) -> None:
        context.endpoints.bindings.register(DEFAULT_BINDING)
        context.endpoints.terms.register(DEFAULT_BINDING, None)
        self._starting = context
        self._require = require

    def start(
        self,
        owner: str,
        session: str | UUID | int | None = None,
        *,
        binding: str | Callable[..., object] | None = None,
        message_id: str | UUID | None = None,
        protocol: str | None = None,
        on_conflict: Literal["reject", "replace"] = "reject",
        on_store_failure: OnStoreFailure | None = None,
        estimate: int | Mapping[str, int] | None = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        first_item_seconds: float | None = None,
        stall_seconds: float | None = None,
        max_stream_seconds: float | None = None,
        abandon_after_seconds: float | None = None,
    ) -> StartedStream:
        """Begin an answer without a request, from a job, a webhook or an agent: whoever watches the session sees it.

        `async with guard.start("ann", "chat-1") as run: …` gives a `StartedRun`. The body sends the items
        (`await run.send(item)`) and has whatever a `Run` has. Leaving it completes the answer; what it raises ends the
        answer as `failed` and is raised on; cancelling its task ends the answer as `interrupted`. Each way it waits for
        the end: the stream is sealed, its save and its quota are done or owed, and `run.end` says which.

        A user's stop, or a `replace`, cancels the body. That cancellation is absorbed where the body is left, quietly:
        `run.end.outcome` is `stopped`. Whatever else ends the answer before its body does (a limit, the drain, the
        store under `"fail"`, another worker) cancels the body too, and leaving it raises `StreamCutError`.

        Args:
            owner: who the answer is for, as `authenticate` names them.
            session: the conversation's id; None for a session of its own, which `run.session_id` names.
            binding: the guarded endpoint whose protocol, save, quota and limits hold: its binding's name, or the
                decorated function. None: `ui-message`, saved where the guard saves, uncounted.
            message_id: the reply's id, or the id of the message that it continues; a fresh one for None.
            protocol: in place of the binding's.
            on_conflict: when the session is already receiving an answer, `reject` or `replace` it.
            on_store_failure: `continue` unlogged when the store cannot be reached, or `fail`; the binding's otherwise.
            estimate: what to reserve of the quota, as in `stream`; the binding's number otherwise.
            idempotency_key: 1 to 255 visible ASCII characters; a second start with the same key, of the same owner
                and binding, begins nothing and raises `AlreadyStartedError`. An answer that ended before its first item
                may be begun again.
            request_id: for the log and the faults; a fresh one otherwise.
            first_item_seconds: overrides the setting of that name, in seconds; so do the next two.
            stall_seconds: silence between items.
            max_stream_seconds: the whole answer.
            abandon_after_seconds: end the answer when nobody has watched it for so long, on any worker. None for never,
                whatever the settings say: nobody need watch a job.

        Raises:
            ConfigurationError: an argument can never work. Entering raises what refuses the answer: `FaultError`,
                `AlreadyStartedError`, or `NotStartedError`.
            FaultError: `session_invalid` or `request_invalid`: the owner, an id or the key cannot be stored.
        """
        self._require(Ability.ENDPOINTS)
        options = StartOptions(
            owner=owner,
            session=session,
            binding=binding,
            message_id=message_id,
            protocol=protocol,
            on_conflict=on_conflict,
            on_store_failure=on_store_failure,
            estimate=estimate,
            idempotency_key=idempotency_key,
            request_id=request_id,
            first_item_seconds=first_item_seconds,
            stall_seconds=stall_seconds,
            max_stream_seconds=max_stream_seconds,
            abandon_after_seconds=abandon_after_seconds,
        )
        if abandon_after_seconds is not None:
            self._require(Ability.ABANDONMENT)
        return StartedStream(self._starting, *options.request(self._starting))
