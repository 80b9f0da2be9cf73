"""The Lua scripts beside this module, and how they are called."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, TypeVar

from ...errors import QuotaCorruptError, QuotaTimeoutError, QuotaUnavailableError
from ...lua import Call, ScriptClient, read_scripts
from ...script_errors import ScriptErrors
from ...values import FORMAT_VERSION
from ..ledger import SWEEP
from ..limits import ANCHOR_MS, MAX_AMOUNT
from .calls import CALLS

__all__ = ["LaterVersionError", "run", "undamaged"]

R = TypeVar("R")

_SCRIPTS: Final = MappingProxyType(
    read_scripts(
        __package__,
        CALLS,
        {
            "@ANCHOR_MS@": ANCHOR_MS,
            "@FORMAT_VERSION@": FORMAT_VERSION,
            "@MAX_AMOUNT@": MAX_AMOUNT,
            "@SWEEP@": SWEEP,
        },
    )
)
"""Lua by script name."""

_ERRORS: Final = ScriptErrors(QuotaCorruptError, QuotaTimeoutError, QuotaUnavailableError)

undamaged: Final = _ERRORS.reading
"""Around the reading of a reply."""


class LaterVersionError(QuotaUnavailableError):
    """A later version of this library wrote an owner's ledger; a worker of that version can go on."""


async def run(client: ScriptClient, operation: str, call: Call[R]) -> R:
    """Call a script of ours; its reply.

    Raises:
        LaterVersionError: a later version wrote what it works on.
        QuotaError: the client's error, as the quota's contract says it; or the reply is none of ours.
    """
    with _ERRORS.calling(operation):
        reply = await client.call(operation, _SCRIPTS[call.script], call.keys(), call.arguments())
    if reply == [b"newer"]:
        raise LaterVersionError(
            f"{operation}: this owner's ledger was written by a later version of streamguard; upgrade this process",
            operation=operation,
        )
    with undamaged(operation):
        return call.read(reply)
