"""The arguments of `guard.start`, and the request for a stream that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from ..durations import check_duration
from ..errors import ConfigurationError, FaultError
from ..faults import Fault, FaultCode
from ..runtime import OnStoreFailure, StreamRequest
from ..runtime.opening.request_key import RequestKey
from ..values import MAX_OWNER_BYTES, SessionKey, is_id, new_stream_id
from ..web.access.checked_ids import checked_message_id, checked_session_id
from ..web.endpoint.idempotency_key import retention_seconds, started_key
from ..web.guard_context import GuardContext
from ..web.headers import request_id_of
from .start_binding import StartBinding

__all__ = ["StartOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """The arguments, as given; `StreamGuard.start` says what they mean."""

    owner: str = field(repr=False)
    session: str | UUID | int | None
    binding: str | Callable[..., object] | None
    message_id: str | UUID | None
    protocol: str | None
    on_conflict: Literal["reject", "replace"]
    on_store_failure: OnStoreFailure | None
    estimate: int | Mapping[str, int] | None
    idempotency_key: str | None
    request_id: str | None
    first_item_seconds: float | None
    stall_seconds: float | None
    max_stream_seconds: float | None
    abandon_after_seconds: float | None

    def request(self, context: GuardContext) -> tuple[StreamRequest, RequestKey | None]:
        """The request for the stream, and what its idempotency key stands for.

        Raises:
            ConfigurationError: an argument can never work.
            FaultError: `session_invalid` or `request_invalid`: an id cannot be stored.
        """
        self._check()
        if not is_id(self.owner, max_bytes=MAX_OWNER_BYTES):
            raise FaultError(Fault.of(FaultCode.REQUEST_INVALID, reason="owner"))
        binding = StartBinding.of(context.endpoints, self.binding, self.protocol)
        given = None if binding.configuration is None else binding.configuration.options
        session_id, demand = checked_session_id(self.session), binding.demand(self.estimate)
        stream_id = new_stream_id()
        request = StreamRequest(
            key=SessionKey(self.owner, session_id),
            protocol=binding.protocol,
            binding=binding.name,
            message_id=checked_message_id(self.message_id, stream_id),
            on_conflict=self.on_conflict,
            on_store_failure=self.on_store_failure or (given.on_store_failure if given is not None else "continue"),
            request_id=request_id_of(self.request_id),
            stream_id=stream_id,
            first_item_seconds=self.first_item_seconds or (None if given is None else given.first_item_seconds),
            stall_seconds=self.stall_seconds or (None if given is None else given.stall_seconds),
            max_stream_seconds=self.max_stream_seconds or (None if given is None else given.max_stream_seconds),
            abandon_after_seconds=self.abandon_after_seconds,
            retry_key=self.idempotency_key,
            demand=demand,
        )
        if self.idempotency_key is None:
            return request, None
        saves = context.endpoints.bindings.target_of(binding.name) is not None
        key = started_key(
            self.idempotency_key,
            binding=binding.name,
            session=None if self.session is None else session_id,
            message_id=None if self.message_id is None else request.message_id,
            ttl_seconds=retention_seconds(
                context.settings, max_stream_seconds=request.max_stream_seconds, owes=saves or demand is not None
            ),
            attempt_seconds=context.settings.finished_ttl_seconds,
        )
        return request, key

    def _check(self) -> None:
        """Raises `ConfigurationError` for a value that no answer can have."""
        if not _is_text(self.owner):
            raise ConfigurationError(
                f"owner of guard.start is a text that names who the answer is for, as authenticate=… gives it, not "
                f"{self.owner!r}"
            )
        if self.on_conflict not in ("reject", "replace"):
            raise ConfigurationError(
                f"on_conflict of guard.start is 'reject' or 'replace', not {self.on_conflict!r}; to have an answer "
                "begun once however often it is asked for, give idempotency_key=…"
            )
        if self.on_store_failure not in (None, "continue", "fail"):
            raise ConfigurationError(f"on_store_failure is 'continue' or 'fail', not {self.on_store_failure!r}")
        for name in ("first_item_seconds", "stall_seconds", "max_stream_seconds", "abandon_after_seconds"):
            check_duration(name, getattr(self, name), or_none=True)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
