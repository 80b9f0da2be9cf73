"""What a message store or quota in Redis raises when one of its scripts fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .decoding import decoding
from .errors import (
    MessageStoreError,
    MessageUnavailableError,
    QuotaError,
    QuotaUnavailableError,
    StoreCorruptError,
    StoreError,
)
from .unavailable import reason_of

__all__ = ["ScriptErrors"]


@dataclass(frozen=True, slots=True)
class ScriptErrors:
    """What a store raises when one of its scripts fails."""

    invalid: type[MessageStoreError | QuotaError]
    timeout: type[MessageStoreError | QuotaError]
    unavailable: type[MessageUnavailableError | QuotaUnavailableError]

    @contextmanager
    def calling(self, operation: str) -> Iterator[None]:
        """Around a call of the client."""
        try:
            yield
        except StoreCorruptError as exc:
            raise self.invalid(str(exc), operation=operation) from exc
        except StoreError as exc:
            if isinstance(exc.__cause__, TimeoutError):
                raise self.timeout(str(exc), operation=operation) from exc
            raise self.unavailable(str(exc), operation=operation, reason=reason_of(exc)) from exc

    @contextmanager
    def reading(self, operation: str) -> Iterator[None]:
        """Around the reading of a reply."""
        with decoding(lambda: self.invalid(f"{operation}: what Redis holds there is damaged", operation=operation)):
            yield
