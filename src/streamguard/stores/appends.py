"""What a stream store is asked to append, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, overload

from ..errors import StoreUnavailableError
from ..values import EventKind, StreamRef
from .records import Close, Seal, Status

__all__ = [
    "AllAppended",
    "Append",
    "AppendCache",
    "AppendReply",
    "AppendRequest",
    "LateDecision",
    "Placement",
    "appended",
    "is_last_append",
]


class LateDecision(NamedTuple):
    """What a stream's first item decided about it, and its registration could not know."""

    protocol: str
    client_version: str
    """As `NewStream.client_version`."""
    message_id: str


class AppendCache:
    """A store's place to keep what it can use again for the next append of the same stream under the same epoch."""

    __slots__ = ("owner", "value")

    owner: object
    """The store whose `value` it is; no other reads that."""
    value: Any

    def __init__(self) -> None:
        self.owner = self.value = None


class AppendRequest(Protocol):
    """Consecutive events of one stream, as a store is asked to append them.

    A store only reads it, and only until `append`, or `seal_and_close`, returns: a writer may use one object for all
    appends of a stream.
    """

    @property
    def ref(self) -> StreamRef:
        """The stream."""

    @property
    def epoch(self) -> int:
        """The epoch that the writer believes in."""

    @property
    def first_seq(self) -> int:
        """The number of the first event."""

    @property
    def events(self) -> Sequence[tuple[EventKind, bytes]]:
        """At least one."""

    @property
    def lone(self) -> bytes | None:
        """The payload of its one event, if that is data, and nothing else is asked: no `refresh`, nothing `decided`."""

    @property
    def refresh(self) -> bool:
        """Renew the TTLs of the stream's and the session's keys too (the writer asks once a minute)."""

    @property
    def within_seconds(self) -> float:
        """How long after the call the store may still carry it out: a writer that gave up waiting has shown those
        events as not logged, and they must not turn up in the log when the network comes back."""

    @property
    def decided(self) -> LateDecision | None:
        """What the stream's record says from its first event on. It counts only in a request that adds event 1, and
        holds from the same moment as that event: whoever reads one finds the other."""

    @property
    def cache(self) -> AppendCache:
        """For the store. `ref` and `epoch` are the same in all requests that have it."""


def is_last_append(close: Close, seal: Seal, last: AppendRequest) -> bool:
    """Whether an append adds the events up to a seal and does nothing else, so that it may go with a close that owes
    nothing: see `StreamWrites.seal_and_close`."""
    if last.refresh or (last.decided is not None and last.first_seq == 1) or close.outbox_payload is not None:
        return False
    return last.epoch == close.epoch and last.first_seq - 1 + len(last.events) == seal.last_seq


class Placement(Protocol):
    """Which of a store's servers each stream is on, where it has several: a slow one is to hold up no stream on
    another, so each gets a writer of its own."""

    def server_of(self, ref: StreamRef) -> object:
        """Stands for the server that a stream is on now: hashable, and the same for all streams there."""


@dataclass(frozen=True, slots=True)
class Append:
    """One `AppendRequest`."""

    ref: StreamRef
    epoch: int
    first_seq: int
    events: Sequence[tuple[EventKind, bytes]]
    refresh: bool
    within_seconds: float = math.inf
    decided: LateDecision | None = None
    cache: AppendCache = field(default_factory=AppendCache, compare=False, repr=False)

    @property
    def lone(self) -> bytes | None:
        """As `AppendRequest.lone`."""
        if len(self.events) != 1 or self.refresh or (self.first_seq == 1 and self.decided is not None):
            return None
        ((kind, data),) = self.events
        return data if kind is EventKind.DATA else None


@dataclass(frozen=True, slots=True)
class AppendReply:
    status: Status
    last_seq: int
    """The log's last event after the write (or the refusal); 0 when gone."""
    stop_requested: bool
    refusal: StoreUnavailableError | None = field(default=None, compare=False)
    """Why it was `REFUSED`, as a call for this stream alone would have raised it; None where nobody knows."""


_KEPT_REPLIES: Final = 4096
"""How many of the usual answers are kept: nearly always one of these is given."""
_APPENDED: Final = tuple(AppendReply(Status.OK, number, stop_requested=False) for number in range(_KEPT_REPLIES))
"""`appended`, by number."""


def appended(seq: int) -> AppendReply:
    """The answer to an append that was carried out, and up to which event."""
    return _APPENDED[seq] if seq < _KEPT_REPLIES else AppendReply(Status.OK, seq, stop_requested=False)


class AllAppended(Sequence[AppendReply]):
    """The replies to a batch of which each append is answered `OK`, and no stop is requested for any of its streams.

    Hot path: a writer that is given one need not look at each reply, and a store need not make them. Who does look
    looks before the requests are used again.
    """

    __slots__ = ("_batch",)

    def __init__(self, batch: Sequence[AppendRequest]) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch)

    def __iter__(self) -> Iterator[AppendReply]:
        return map(_carried_out, self._batch)

    @overload
    def __getitem__(self, index: int) -> AppendReply: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AppendReply]: ...
    def __getitem__(self, index: int | slice) -> AppendReply | Sequence[AppendReply]:
        return _carried_out(self._batch[index]) if isinstance(index, int) else list(self)[index]


def _carried_out(asked: AppendRequest) -> AppendReply:
    return appended(asked.first_seq + len(asked.events) - 1)
