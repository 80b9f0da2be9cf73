"""How far the drain of a process has come."""

from __future__ import annotations

from enum import Enum

__all__ = ["DrainPhase", "DrainState"]


class DrainPhase(Enum):
    """The phases of a drain, in order."""

    NOT_BEGUN = "not begun"
    """The process opens streams."""
    DRAINING = "draining"
    """The process opens no stream any more; those that run end."""
    GIVEN_UP = "given up"
    """What still retries is to stop: the process ends."""


class DrainState:
    """The phase of one process's drain. Only the drain moves it on."""

    def __init__(self) -> None:
        self.phase: DrainPhase = DrainPhase.NOT_BEGUN

    @property
    def begun(self) -> bool:
        """Whether the process opens no stream any more."""
        return self.phase is not DrainPhase.NOT_BEGUN

    @property
    def given_up(self) -> bool:
        """Whether what retries is to stop."""
        return self.phase is DrainPhase.GIVEN_UP
