"""When a stream was last heard of, for the watchdog, which ends silent and unwatched ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Activity"]


@dataclass(slots=True, eq=False)
class Activity:
    """The times of one stream, in the event loop's seconds.

    The producer counts `items`, the stream notes its cancellation and its request's presence, a rule when its
    application answered; everything else is the watchdog's.
    """

    opened_at: float
    clock: Callable[[], float]
    first_item_seconds: float | None = None
    """How long its endpoint may take to give the first item; None for the setting of that name."""
    items: int = 0
    """How many items the endpoint has given so far."""
    items_seen: int = 0
    """How many there were when the watchdog looked last."""
    last_item_at: float = field(init=False)
    """When the watchdog last found a new item, or had another reason to call the stream alive."""
    cancelled_at: float | None = None
    """When its producer was cancelled."""
    called_at: float | None = None
    """When its endpoint was called."""
    first_item_at: float | None = None
    """When its endpoint gave its first item."""
    through_at: float | None = None
    """When its endpoint was through, or cut short, and its end began."""
    request_waits: bool = False
    """The request that began it waits for its first event: somebody is there who has no viewer yet."""

    def __post_init__(self) -> None:
        self.last_item_at = self.opened_at

    @property
    def age_seconds(self) -> float:
        """How long ago the stream began, on this process's monotonic clock."""
        return self.clock() - self.opened_at

    @property
    def finish_seconds(self) -> float:
        """How long its end has taken so far: what came after its endpoint, such as the save."""
        return 0.0 if self.through_at is None else self.clock() - self.through_at

    @property
    def endpoint_seconds(self) -> float | None:
        """From the call of its endpoint until that was through, or cut short; None for one that was not called."""
        if self.called_at is None:
            return None
        return (self.clock() if self.through_at is None else self.through_at) - self.called_at

    @property
    def provider_seconds(self) -> float | None:
        """From the call of its endpoint to its first item; None while it has given none."""
        if self.called_at is None or self.first_item_at is None:
            return None
        return self.first_item_at - self.called_at

    def silent_seconds(self, now: float, *, held_back: bool) -> float:
        """How long the endpoint has given nothing, as the watchdog sees it at `now`. An endpoint that is `held_back`
        waits for the store, which has its own deadline, and is not silent."""
        if self.items != self.items_seen or held_back:
            self.items_seen, self.last_item_at = self.items, now
        return now - self.last_item_at

    def answered(self, first_item_seconds: float) -> None:
        """Its endpoint began to answer only now: its first item may take so long from here on."""
        self.first_item_seconds = first_item_seconds
        self.last_item_at = self.clock()

    def extend(self, seconds: float) -> None:
        """This process stood still for so long and could hear nobody: that time counts against no endpoint."""
        self.last_item_at += seconds
        if self.cancelled_at is not None:
            self.cancelled_at += seconds
