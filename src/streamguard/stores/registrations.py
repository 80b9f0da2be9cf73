"""What the stream store's registry answers. `streamguard.stores.roles` has the contracts themselves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .records import StreamMeta

__all__ = ["ENDED_UNCOUNTED", "Full", "Occupied", "Registered", "StopReply", "Withdrawn"]


ENDED_UNCOUNTED: Final = 8
"""How many of a session's streams may be sealed and still hold slots while they are saved, and take none of the owner's
limit from a new stream of that session."""


class Registered:
    """The stream exists, is the session's active one, and counts among its owner's running ones.

    A store may know its record without having one: a stream's writer asks for three facts of it alone.
    """

    __slots__ = ("_meta", "created_at", "epoch", "stop_requested")
    __match_args__ = ("meta",)

    def __init__(self, meta: StreamMeta) -> None:
        self._meta = meta
        self.epoch: int = meta.epoch
        """Under which its writer writes, until another worker raises that."""
        self.created_at: float = meta.created_at
        """When it began: Unix time, on the store's clock."""
        self.stop_requested: bool = meta.stop_requested
        """Whether a stop came after its request, and before it."""

    @property
    def meta(self) -> StreamMeta:
        """The stream's record."""
        return self._meta


@dataclass(frozen=True, slots=True)
class Full:
    """The owner has as many running streams as the caller allows. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Occupied:
    """The session has an unsealed stream; whether its lease runs is in `meta.lease_seconds`. Nothing was written."""

    meta: StreamMeta


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """This registration was withdrawn before it arrived. Nothing was written."""


class StopReply(StrEnum):
    REQUESTED = "requested"
    """The flag is set and the writer, whose lease runs, was told."""
    EXPIRED = "expired"
    """The writer's lease ran out: the caller takes the stream and seals it `stopped`."""
    ENDED = "ended"
    """The stream is sealed already, or there is no such stream."""
