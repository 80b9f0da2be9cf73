"""The audit trail: who did what to which stream, when, and how it went. Never what anybody wrote."""

from .json_lines import JsonLinesAudit
from .records import Actor, AuditAction, AuditRecord, AuditSink, ClosableSink
from .structlog_sink import StructlogAudit
from .trail import AuditTrail

__all__ = [
    "Actor",
    "AuditAction",
    "AuditRecord",
    "AuditSink",
    "AuditTrail",
    "ClosableSink",
    "JsonLinesAudit",
    "StructlogAudit",
]
