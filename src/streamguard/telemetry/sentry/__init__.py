"""The built-in Sentry sink, and hooks for a host's `sentry_sdk.init`."""

from .observer import SentryObserver
from .scrubbing import (
    Hooks,
    Scrubber,
    before_breadcrumb,
    before_send,
    before_send_log,
    before_send_metric,
    before_send_span,
    before_send_transaction,
    hooks,
)

__all__ = [
    "Hooks",
    "Scrubber",
    "SentryObserver",
    "before_breadcrumb",
    "before_send",
    "before_send_log",
    "before_send_metric",
    "before_send_span",
    "before_send_transaction",
    "hooks",
]
