"""The built-in Sentry sink, and hooks for a host's `sentry_sdk.init`."""

from .observer import SentryObserver
from .scrubbing import (
    Scrubber,
    before_breadcrumb,
    before_send,
    before_send_log,
    before_send_metric,
    before_send_transaction,
)

__all__ = [
    "Scrubber",
    "SentryObserver",
    "before_breadcrumb",
    "before_send",
    "before_send_log",
    "before_send_metric",
    "before_send_transaction",
]
