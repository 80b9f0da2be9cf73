"""Which server of a Redis Cluster has which hash slot, and what its servers say when a command came to the wrong one.

`CLUSTER SLOTS` is read, which every version from 6.2 on has and forks of Redis have too (`CLUSTER SHARDS` came with 7).
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from redis.crc import key_slot

from ...decoding import decoding
from ...errors import StoreUnavailableError
from ...lua import read_reply
from ...unavailable import UnavailableReason
from .driver import CommandError, Reply

__all__ = ["SLOTS", "Place", "Redirect", "Redirection", "read_redirection", "read_slots", "slot_of"]

SLOTS: Final = 16_384


class Place(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


class Redirect(Enum):
    """What is to be done about a command that a server did not carry out."""

    MOVED = "MOVED"
    """Another server has the slot."""
    ASK = "ASK"
    """The slot is being moved, and its key is at its next server already."""
    TRYAGAIN = "TRYAGAIN"
    """The slot is being moved, and the command's keys are not all at one server."""
    DOWN = "DOWN"
    """This is not a server to write to, or no server has the slot, or it is not said where that is: the map may have
    changed."""


class Redirection(NamedTuple):
    """What a server said instead of carrying a command out."""

    kind: Redirect
    slot: int = -1
    place: Place | None = None


class _Master(NamedTuple):
    host: bytes | None
    port: int
    more: tuple[object, ...] = ()
    """Its id, and from Redis 7 on a list of what else is known of where it is: names, each with its value."""

    def host_for(self, asked: Place) -> str:
        """Where it is, as the server `asked` said."""
        host = "" if self.host is None else self.host.decode()
        if host == _NO_NAME:
            match self.more:
                case [_, list() as facts, *_]:
                    found = dict(zip(facts[::2], facts[1::2], strict=False)).get(b"ip")
                    host = found.decode() if isinstance(found, bytes) else ""
                case _:
                    host = ""
        return host or asked.host


class _Range(NamedTuple):
    """Slots that one master has."""

    first: int
    last: int
    master: _Master
    replicas: tuple[object, ...] = ()


_NO_NAME: Final = "?"
"""Instead of a host: servers are to be named, and this one has no name, or not yet (`cluster-announce-hostname`)."""
_DOWN: Final = ("CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY")


def slot_of(key: bytes) -> int:
    """The hash slot of a key: of what stands in its braces."""
    return key_slot(key)


def read_redirection(reply: Reply, asked: Place) -> Redirection | None:
    """What an error reply of the server `asked` says of where the command belongs; None for any other reply."""
    if not isinstance(reply, CommandError):
        return None
    code, *words = str(reply).split()
    if code in ("MOVED", "ASK") and len(words) == 2:
        host, _, port = words[1].rpartition(":")
        if host == _NO_NAME:
            return Redirection(Redirect.DOWN)
        if words[0].isdigit() and port.isdigit():
            return Redirection(Redirect(code), int(words[0]), Place(host.strip("[]") or asked.host, int(port)))
    if code == "TRYAGAIN":
        return Redirection(Redirect.TRYAGAIN)
    return Redirection(Redirect.DOWN) if code in _DOWN else None


def read_slots(reply: Reply, asked: Place) -> list[Place | None]:
    """The master of each slot, as the server `asked` answered `CLUSTER SLOTS`.

    Raises:
        StoreUnavailableError: it is no such answer, or no server has any slot.
    """
    masters: list[Place | None] = [None] * SLOTS
    with decoding(lambda: StoreUnavailableError("cluster: Redis gave an unexpected answer", operation="cluster")):
        ranges: list[_Range] = read_reply(list[_Range], reply)
        for first, last, master, _ in ranges:
            # A server that does not know its own name leaves it out: it is where it was asked.
            place = Place(master.host_for(asked), master.port)
            masters[first : last + 1] = [place] * (last - first + 1)
    if not any(masters):
        text = "cluster: no server of the cluster has slots"
        raise StoreUnavailableError(text, operation="cluster", reason=UnavailableReason.CLUSTER_DOWN)
    return masters
