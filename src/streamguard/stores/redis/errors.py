"""Driver errors and error replies of Redis as errors of the store."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from ...errors import NoMasterError, StoreCorruptError, StoreUnavailableError
from ...unavailable import UnavailableReason, reason_of_connection
from .driver import DRIVER_ERRORS, CommandError, ProtocolError, Reply
from .refusals import EXPLAINED, explained, reason_of_reply, refused_text
from .sentinel import UnresolvedError

__all__ = [
    "UnansweredError",
    "checked",
    "closed_error",
    "concerns_record",
    "mapped_error",
    "mapped_errors",
    "refusal_of",
    "refused_error",
]

_UNUSABLE: Final = re.compile(
    r"attempt to |bad argument|hash value is not|is not an integer|Invalid stream ID|is not a valid float"
    r"|equal or smaller than the|would overflow|too many results to unpack"
    r"|: Expected |Found too many nested|invalid (?:token|number|expire)"
)
"""Errors of Lua, cjson and Redis within a script about a value that no script of ours wrote. Errors about a command (it
is unknown, not allowed, there is no memory) do not match."""


class UnansweredError(CommandError):
    """The reply to a command whose server did not answer, while others of its cluster did."""

    def __init__(self, error: StoreUnavailableError) -> None:
        super().__init__("UNANSWERED by one server of the cluster")
        self.__cause__: BaseException | None = error.__cause__
        self.error: Final = error
        """What the call to that server alone would have raised."""


@contextmanager
def mapped_errors(operation: str) -> Iterator[None]:
    """Turns whatever the driver raises into `StoreUnavailableError`. Its text names no host, key or credential."""
    try:
        yield
    except DRIVER_ERRORS as exc:
        raise mapped_error(operation, exc) from exc


def mapped_error(operation: str, error: BaseException) -> StoreUnavailableError:
    """The store's error for one of `DRIVER_ERRORS`, or for another error that ended a connection. The caller raises it
    from that error."""
    if isinstance(error, UnresolvedError):
        return NoMasterError(f"{operation}: {error}", operation=operation, reason=error.reason)
    if isinstance(error, CommandError) and not isinstance(error, ProtocolError):
        return refusal_of(operation, error)
    reason = UnavailableReason.WRONG_SERVER if isinstance(error, ProtocolError) else reason_of_connection(error)
    if reason is UnavailableReason.TIMEOUT:
        text = f"{operation}: Redis did not answer in time: {EXPLAINED[reason].advice}"
    else:
        text = f"{operation}: Redis could not be used ({type(error).__name__}): {explained(reason)}"
    return StoreUnavailableError(text, operation=operation, reason=reason)


def refusal_of(operation: str, error: CommandError) -> StoreUnavailableError:
    """The store's error for an error reply that is not about a record. Nobody need raise it."""
    if isinstance(error, UnansweredError):
        text = f"{operation}: one server of the cluster did not answer ({error.error.reason})"
        return StoreUnavailableError(text, operation=operation, reason=error.error.reason)
    text = f"{operation}: {refused_text(error)}"
    return StoreUnavailableError(text, operation=operation, reason=reason_of_reply(error))


def closed_error(operation: str) -> StoreUnavailableError:
    """The error of a call to a store that was closed."""
    return StoreUnavailableError(
        f"{operation}: the store is closed", operation=operation, reason=UnavailableReason.CLOSED
    )


def concerns_record(error: CommandError) -> bool:
    """Whether an error reply means that the value of a key is damaged: it is of another type, or a script of ours could
    not read it. The server is well then, and a retry does not help."""
    text = str(error)
    return "WRONGTYPE" in text or ("user_script" in text and _UNUSABLE.search(text) is not None)


def checked(operation: str, replies: Sequence[Reply]) -> None:
    """Raises for the first error among `replies`.

    Raises:
        StoreCorruptError: a key holds a value that is not ours (see `concerns_record`).
        StoreUnavailableError: Redis refused, for any other reason.
    """
    for reply in replies:
        if isinstance(reply, CommandError):
            raise refused_error(operation, reply) from reply


def refused_error(operation: str, error: CommandError) -> StoreCorruptError | StoreUnavailableError:
    """The store's error for an error reply. The caller raises it from that reply."""
    if concerns_record(error):
        text = f"{operation}: a key of this namespace is damaged, or was written by something else"
        return StoreCorruptError(text, operation=operation)
    return refusal_of(operation, error)
