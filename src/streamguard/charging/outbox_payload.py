"""What the outbox keeps of a settlement: beside what a save needs, in one JSON text.

Version 1 owes a save only; version 2 may owe a save, a settlement, or both. One that owes no settlement is still
written as version 1, which older workers can read.
"""

from __future__ import annotations

from typing import NamedTuple

from ..compact_json import compact_json
from ..decoding import decoding, read_json
from ..saving.outbox_payload import WITH_SETTLEMENT, read_payload
from .charge import Charge

__all__ = ["OutboxSettlement", "add_settlement", "read_settlement"]


class OutboxSettlement(NamedTuple):
    """What an outbox entry owes."""

    saves: bool
    settles: bool
    charge: Charge | None
    """None where the worker that wrote it did not know the endpoint: one that knows it decides."""


def add_settlement(owed: bytes | None, charge: Charge | None) -> bytes:
    """The payload of a stream that owes its settlement too, besides the save that `owed` tells of, if any."""
    save: dict[str, object] = {"user_messages": None} if owed is None else read_json(owed)
    settle = {"charge": None if charge is None else charge.as_dict()}
    return compact_json({**save, "v": WITH_SETTLEMENT, "settle": settle})


def read_settlement(payload: bytes) -> OutboxSettlement:
    """What a payload owes.

    Raises:
        NewerPayloadError: another version has to read it.
        ValueError: it is damaged.
    """
    saves = read_payload(payload).saves
    with decoding(lambda: ValueError("this is no settlement")):
        settle = read_json(payload).get("settle")
        if settle is None:
            return OutboxSettlement(saves=True, settles=False, charge=None)
        charge = None if settle["charge"] is None else Charge.from_dict(settle["charge"])
    return OutboxSettlement(saves=saves, settles=True, charge=charge)
