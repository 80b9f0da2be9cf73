"""What a stream tells its clients beside its items: notices, within their share of its limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Protocol

from ...faults import Fault, FaultCode
from ...values import EventKind, Subject
from ...wire.base import LeftOut
from .bounds import Bounds
from .phases import Output

__all__ = ["NoticeOwner", "Notices"]

LEFT_OUT_KINDS: Final = 20
"""Operators are told of so many kinds of values that were left out of one stream."""


class NoticeOwner(Subject, Protocol):
    """The stream whose notices these are."""

    @property
    def output(self) -> Output: ...
    @property
    def finalising(self) -> bool: ...
    @property
    def superseded(self) -> bool: ...
    def begin(self) -> None: ...
    def left_out(self, fault: Fault, left_out: LeftOut) -> None: ...
    def emit(self, kind: EventKind, payload: bytes, *, bounded: bool = True) -> None: ...


class Notices:
    """The notices of one stream."""

    __slots__ = ("_bounds", "_left_out", "_stream", "_waiting", "dropped")

    def __init__(self, stream: NoticeOwner, bounds: Bounds) -> None:
        self._stream = stream
        self._bounds = bounds
        self._waiting: list[bytes] = []
        """What is told as soon as the stream has emitted what its protocol begins with."""
        self._left_out: dict[tuple[str | None, ...], Fault] = {}
        """What was told, of each kind: operators find each later one of the kind by the id of the first."""
        self.dropped: int = 0
        """How many notices were dropped because they passed their share."""

    def release(self, ended: NoticeOwner) -> None:
        """`ended` stands for the stream from now on."""
        self._stream = ended

    def announce(self, fault: Fault) -> None:
        """Tell this process's viewers of a fault that cannot be logged; before the first item, right after what the
        protocol begins with."""
        self._emit(fault.to_json())

    def emit_announced(self) -> None:
        """The stream has emitted what its protocol begins with: tell what was announced before that."""
        waiting, self._waiting = self._waiting, []
        for payload in waiting:
            self._emit(payload)

    def tell(self, fault: Fault) -> bool:
        """Log a non-fatal notice, in order with the items. Returns whether it was logged, or is with the first event of
        a stream whose protocol is not decided yet: not once the stream is ending, nor past its share of the stream's
        limits."""
        stream = self._stream
        if stream.finalising or stream.superseded:
            return False
        stream.begin()
        payload = fault.to_json()
        if not self._bounds.admit_notice(len(payload)):
            self.dropped += 1
            return False
        self._emit(payload)
        return True

    def left_out(self, left_out: LeftOut, *, user_message_id: str | None = None) -> None:
        """Tell viewers of an item, or a message to save, that had to be changed; operators once of each kind."""
        stream = self._stream
        kind = (left_out.part, left_out.reason, left_out.replaced[0].type_name, user_message_id)
        if (known := self._left_out.get(kind)) is not None:
            self.tell(known)
            return
        fault = Fault.about(stream, FaultCode.VALUE_REPLACED, reason=left_out.reason, user_message_id=user_message_id)
        if len(self._left_out) >= LEFT_OUT_KINDS:
            self.tell(replace(fault, fault_id=next(reversed(self._left_out.values())).fault_id))
        elif self.tell(fault):
            self._left_out[kind] = fault
            stream.left_out(fault, left_out)

    def _emit(self, payload: bytes) -> None:
        if self._stream.output is Output.NOTHING:
            self._waiting.append(payload)
        else:
            self._stream.emit(EventKind.NOTICE, payload, bounded=False)
