"""What operators do with commands, in an audit trail of their own or in the application's."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from ..telemetry.audit import Actor, AuditAction, AuditRecord
from ..telemetry.audit.line_file import LineFile
from ..telemetry.safety import id_text, plain_text, short_hash
from ..values import SessionKey
from .exits import CommandError, ExitCode

__all__ = ["Audit", "OperatorTrail", "audited"]

ENVIRONMENT: Final = "STREAMGUARD_AUDIT"

Audit = Annotated[
    Path | None,
    typer.Option(
        "--audit",
        envvar=ENVIRONMENT,
        dir_okay=False,
        help="Append a record of what is done, by whom and to what, to this file, as lines of JSON.",
        show_default=False,
    ),
]


class OperatorTrail:
    """Writes records at once, each to the disk, before the command tells of its result. `file` is open; None: nowhere.

    What fails here fails the command, whose operator sees it.
    """

    def __init__(self, file: LineFile | None) -> None:
        self._file = file
        self.noted: int = 0
        """How many records were written."""

    def note(
        self,
        action: AuditAction,
        *,
        key: SessionKey | None = None,
        stream_id: str | None = None,
        message_id: str | None = None,
        outcome: str,
        reason: str | None = None,
        count: int | None = None,
    ) -> None:
        """Record what was done.

        Raises:
            CommandError: it was done, and cannot be recorded.
        """
        self.noted += 1
        if self._file is None:
            return
        record = AuditRecord(
            at=datetime.now(UTC),
            action=action,
            actor=Actor.OPERATOR,
            operator=id_text(_operator()),
            owner=None if key is None else short_hash(key.owner),
            session_id=None if key is None else id_text(key.session_id),
            stream_id=stream_id,
            message_id=None if message_id is None else id_text(message_id),
            outcome=outcome,
            reason=None if reason is None else plain_text(reason),
            count=count,
        )
        try:
            self._file.open()
            self._file.append(json.dumps(record.as_dict(), separators=(",", ":")).encode() + b"\n")
            self._file.sync()
        except OSError as exc:
            text = f"{action} was done ({outcome}), and cannot be recorded: {exc.strerror or type(exc).__name__}"
            raise CommandError(ExitCode.PROBLEMS, "audit_failed", text) from exc


@asynccontextmanager
async def audited(
    path: Path | None, action: AuditAction, *, key: SessionKey | None = None
) -> AsyncIterator[OperatorTrail]:
    """The trail of one command. A command that fails before anything was recorded is recorded as `failed`.

    Raises:
        CommandError: the file cannot be written; nothing has been done then.
    """
    file = None if path is None else LineFile(os.fspath(path), fsync=True)
    if file is not None:
        try:
            file.open()
        except OSError as exc:
            text = f"the audit trail {path} cannot be written: {exc.strerror or type(exc).__name__}; nothing was done"
            raise CommandError(ExitCode.USAGE, "audit_failed", text) from exc
    trail = OperatorTrail(file)
    try:
        yield trail
    except BaseException as exc:
        if not trail.noted:
            reason = exc.name if isinstance(exc, CommandError) else type(exc).__name__
            trail.note(action, key=key, outcome="failed", reason=reason)
        raise
    finally:
        if file is not None:
            file.close()


def _operator() -> str:
    """Who runs this process: the login that called sudo, or else that of the real user."""
    if (caller := os.environ.get("SUDO_USER")) and os.getuid() == 0:
        return caller
    try:
        import pwd  # noqa: PLC0415 -- not on every system

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError, AttributeError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
