"""What a command's exit status says, and how one fails."""

from __future__ import annotations

from enum import IntEnum

from ..errors import (
    ConfigurationError,
    QuotaError,
    QuotaInvalidError,
    StoreCorruptError,
    StoreError,
    StreamGuardError,
)

__all__ = ["CommandError", "ExitCode", "failure_of"]


class ExitCode(IntEnum):
    """The exit status of every command."""

    OK = 0
    PROBLEMS = 1
    """It was done, and there is something to look at: a check failed, a save failed, work is left."""
    USAGE = 2
    """It could not be done as asked: wrong arguments, a URL or an application that cannot be used."""
    UNREACHABLE = 3
    """The store did not answer, or refused."""
    NOT_FOUND = 4
    """The store answered, and has no such session, stream or entry."""
    UNREADABLE = 5
    """The store holds something this version cannot read."""


class CommandError(Exception):
    """Ends a command with a status and a text. `name` is for programs, and stable."""

    def __init__(self, code: ExitCode, name: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.name = name
        self.message = message


def failure_of(error: StreamGuardError) -> CommandError:
    """How an error of ours ends a command. Its text holds no credential."""
    match error:
        case ConfigurationError():
            return CommandError(ExitCode.USAGE, "usage", str(error))
        case StoreCorruptError():
            return CommandError(ExitCode.UNREADABLE, "unreadable", str(error))
        case StoreError():
            return CommandError(ExitCode.UNREACHABLE, "store_unreachable", str(error))
        case QuotaInvalidError():
            return CommandError(ExitCode.USAGE, "usage", str(error))
        case QuotaError():
            return CommandError(ExitCode.UNREACHABLE, "store_unreachable", str(error))
        case _:
            return CommandError(ExitCode.PROBLEMS, "failed", str(error))
