"""Observers: what the rest of the package says happened, for logs and for Sentry."""

from typing import TYPE_CHECKING

from .logging import StructlogObserver

if TYPE_CHECKING:
    from .sentry import SentryObserver
else:

    def __getattr__(name: str) -> object:
        """Import the observer for Sentry, and with it `sentry_sdk`, when it is first used."""
        if name == "SentryObserver":
            from .sentry import SentryObserver  # noqa: PLC0415 -- it imports `sentry_sdk`

            return SentryObserver
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["SentryObserver", "StructlogObserver"]
