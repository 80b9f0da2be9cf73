"""What a process knows of its own health."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Health"]


@dataclass(frozen=True, slots=True)
class Health:
    """What the process knows of itself."""

    ready: bool
    """The store answers and new streams are admitted."""
    reasons: tuple[str, ...]
    streams: int
    viewers: int
    degraded_streams: int
    draining: bool
