"""Audit records as log events."""

from __future__ import annotations

import json
import logging
from typing import Final

import structlog

from .records import AuditRecord

__all__ = ["StructlogAudit"]

EVENT: Final = "streamguard.audit"
LOGGER: Final = "streamguard.audit"


class StructlogAudit:
    """Logs each record at INFO as the event `streamguard.audit`, to the logger `streamguard.audit`.

    It goes through structlog as the host configured it; where it configured nothing, to the standard library's logger
    of that name, with the record as JSON in the line and as `streamguard` on the log record.
    """

    def __init__(self) -> None:
        self._structlog = structlog.get_logger(LOGGER)
        self._standard = logging.getLogger(LOGGER)

    def write(self, record: AuditRecord) -> None:
        """Log one record."""
        fields = record.as_dict()
        if structlog.is_configured():
            self._structlog.info(EVENT, **fields)
        elif self._standard.isEnabledFor(logging.INFO):
            self._standard.info("%s %s", EVENT, json.dumps(fields), extra={"streamguard": fields})
