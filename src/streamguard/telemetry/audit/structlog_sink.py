"""Audit records as log events."""

from __future__ import annotations

import json
import logging

from ...log_lines import AUDIT_LOGGER, LogEvent, log_line
from .records import AuditRecord

__all__ = ["StructlogAudit"]


class StructlogAudit:
    """Logs each record at INFO as the event `streamguard.audit`, to the logger `streamguard.audit`.

    It goes through structlog as the host configured it; where it configured nothing, to the standard library's logger
    of that name, with the record as JSON in the line and as `streamguard` on the log record.
    """

    def write(self, record: AuditRecord) -> None:
        """Log one record."""
        fields = record.as_dict()
        log_line(AUDIT_LOGGER, logging.INFO, LogEvent.AUDIT, fields, text=json.dumps(fields))
