"""Code and text for a client whose stream did not complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..faults import REGISTRY, Fault, FaultCode
from ..values import Outcome

__all__ = ["reason_of"]

_CODES: Final[Mapping[Outcome, FaultCode]] = {
    Outcome.STOPPED: FaultCode.STOPPED,
    Outcome.INTERRUPTED: FaultCode.INTERRUPTED,
}


def reason_of(outcome: Outcome, fault: Fault | None) -> tuple[FaultCode, str]:
    """Code and safe text of the fault; without a fault, those of the outcome's code in the registry."""
    if fault is not None:
        return fault.code, fault.message
    code = _CODES.get(outcome, FaultCode.INTERNAL)
    return code, REGISTRY[code].message
