"""Facts as Sentry's own logs, where the host enabled them."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

import sentry_sdk
from sentry_sdk.integrations import logging as sentry_logging
from sentry_sdk.scope import Scope, use_isolation_scope, use_scope

from ...faults import Severity
from ...observations import Observation, Signal
from ..logging import level_of
from .fields import allowed, ids_of

if TYPE_CHECKING:
    from sentry_sdk.client import BaseClient

__all__ = ["are_enabled", "keep_ours_apart", "send_log"]

_QUIET: Final = frozenset(signal for signal in Signal if level_of(signal) == "debug")
"""Too many, and nothing is wrong."""
_LEVELS: Final = {"warning": logging.WARNING, "error": logging.ERROR}


def keep_ours_apart() -> None:
    """Let Sentry's logging integration make neither events nor logs of the logger `streamguard`, whose facts are sent
    from here."""
    sentry_logging.ignore_logger("streamguard")
    with contextlib.suppress(AttributeError):  # since 2.3x
        sentry_logging.ignore_logger_for_sentry_logs("streamguard")


def are_enabled(client: BaseClient) -> bool:
    """Whether the host wants logs in Sentry, and this version of the SDK has them."""
    options = client.options
    enabled = options.get("enable_logs") or (options.get("_experiments") or {}).get("enable_logs")
    return bool(enabled) and hasattr(sentry_sdk, "logger")


def send_log(observation: Observation) -> None:
    """Send one fact as a log, without the host's scopes: they may hold who asked, and what."""
    if observation.name in _QUIET:
        return
    fields = {**allowed(observation.fields), **ids_of(observation)}
    level, fault = _LEVELS.get(level_of(observation.name), logging.INFO), observation.fault
    if fault is not None:
        fields |= {"code": str(fault.code), "phase": str(fault.phase)}
        level = logging.WARNING if fault.severity is Severity.WARNING or fault.status < 500 else logging.ERROR
    attributes = {f"streamguard.{name}": value for name, value in fields.items()}
    attributes["sentry.origin"] = "auto.log.streamguard"
    send = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}[level]
    with use_isolation_scope(Scope()), use_scope(Scope()):
        getattr(sentry_sdk.logger, send)(str(observation.name), attributes=attributes)
