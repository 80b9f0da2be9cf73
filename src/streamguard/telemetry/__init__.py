"""Observers: what the rest of the package says happened, for logs and for Sentry."""

from .logging import StructlogObserver
from .sentry import SentryObserver

__all__ = ["SentryObserver", "StructlogObserver"]
