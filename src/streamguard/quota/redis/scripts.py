"""The Lua scripts beside this module, and how they are called."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from ...errors import QuotaCorruptError, QuotaTimeoutError, QuotaUnavailableError
from ...lua import ScriptClient, ScriptErrors, read_scripts
from ...values import FORMAT_VERSION
from ..ledger import SWEEP
from ..limits import ANCHOR_MS, MAX_AMOUNT

__all__ = ["called", "undamaged"]

_SCRIPTS: Final = MappingProxyType(
    read_scripts(
        __package__,
        {
            "@ANCHOR_MS@": ANCHOR_MS,
            "@FORMAT_VERSION@": FORMAT_VERSION,
            "@MAX_AMOUNT@": MAX_AMOUNT,
            "@SWEEP@": SWEEP,
        },
    )
)
"""Lua by step."""

_ERRORS: Final = ScriptErrors(QuotaCorruptError, QuotaTimeoutError, QuotaUnavailableError)

undamaged: Final = _ERRORS.reading
"""Around the reading of a reply."""


async def called(
    client: ScriptClient, operation: str, script: str, keys: Sequence[bytes], args: Sequence[str | bytes | int]
) -> object:
    """What a script of ours answers.

    Raises:
        QuotaError: the client's error, as the quota's contract says it.
    """
    with _ERRORS.calling(operation):
        return await client.call(operation, _SCRIPTS[script], keys, args)
