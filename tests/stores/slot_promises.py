"""What a store promises about owners' slots, checked on what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamguard.stores.registrations import Full, Occupied, Registered, Withdrawn
from streamguard.values import StreamRef

from .outbox_promises import PromiseBrokenError

__all__ = ["SlotPromises"]


@dataclass
class SlotPromises:
    """Which streams have a slot of their owner's, as far as the steps so far say."""

    _held: set[StreamRef] = field(default_factory=set)
    """They surely have one, which outlasts the example."""
    _maybe: set[StreamRef] = field(default_factory=set)
    """Theirs may have run out, or not: a heartbeat renews a slot that ran out if nobody has given it up yet."""

    def registered(
        self,
        ref: StreamRef,
        answer: Registered | Occupied | Full | Withdrawn,
        *,
        limit: int | None,
        known: bool,
        lasts: bool,
    ) -> None:
        """`register` was answered; `known` when the stream had a record before, `lasts` when its lease is long."""
        held, possible = self._elsewhere(ref), self._others(self._held | self._maybe, ref)
        match answer:
            case Full() if known:
                raise PromiseBrokenError("retry", "a stream that is registered has no room when it asks again")
            case Full() if limit is None or possible < limit:
                raise PromiseBrokenError("slots", f"no room for a stream beside {possible}, of {limit}")
            case Registered() if not known:
                if limit is not None and held >= limit:
                    raise PromiseBrokenError("slots", f"registered beside {held}, of {limit}")
                self._lasting(ref, lasts)
            case _:
                pass

    def renewed(self, ref: StreamRef, *, lasts: bool) -> None:
        """`heartbeat` was answered with `OK`; a stream without a slot gets none by it."""
        if ref in self._held:
            self._lasting(ref, lasts)

    def dismissed(self, ref: StreamRef) -> None:
        self._held.discard(ref)
        self._maybe.discard(ref)

    def _lasting(self, ref: StreamRef, lasts: bool) -> None:
        (self._held if lasts else self._maybe).add(ref)
        (self._maybe if lasts else self._held).discard(ref)

    def _elsewhere(self, ref: StreamRef) -> int:
        """How many have one in other sessions: those of its own have ended once it is registered."""
        return sum(other.key.owner == ref.key.owner and other.key != ref.key for other in self._held)

    @staticmethod
    def _others(streams: set[StreamRef], ref: StreamRef) -> int:
        return sum(other.key.owner == ref.key.owner for other in streams - {ref})
