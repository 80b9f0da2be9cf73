"""The built-in Sentry sink."""

from .observer import SentryObserver

__all__ = ["SentryObserver"]
