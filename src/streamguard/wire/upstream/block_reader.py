"""What the runtime must know of an upstream's blocks: where its end begins, what it consumed, whether it failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...faults import FaultCode
from ..base import ToolNews
from ..sse import Block

__all__ = ["DONE", "BlockReader", "is_done"]

DONE: Final = b"[DONE]"


class BlockReader:
    """Reads one stream's blocks in order and changes none. Hot path: a subclass parses only blocks that can matter.

    This class knows `[DONE]` alone. Never raises, whatever a block holds.
    """

    def __init__(self) -> None:
        self.usage: dict[str, int] = {}
        """What the upstream said so far that it consumed, by unit. Later figures replace earlier ones."""
        self.failure: FaultCode | None = None
        """How the upstream failed, once it said so."""

    def fail(self, code: FaultCode) -> None:
        """The upstream said that it failed, or broke off."""
        self.failure = code

    def tell_usage(self, amounts: dict[str, int]) -> None:
        """The upstream said that it consumed this so far."""
        self.usage = amounts

    def ignores(self, raw: bytes) -> bool:
        """Hot path: whether a block of these bytes is sure to be no closing part, to tell of no tool, and to change
        nothing of what this reader knows. A subclass that overrides `closes` or `tools` overrides this too."""
        return DONE not in raw

    def closes(self, block: Block) -> bool:
        """Take in one block. Returns whether it is a closing part, so that it and all after it are held."""
        return is_done(block)

    def tools(self, block: Block) -> Iterable[ToolNews]:
        """What a block says of tools that the reply calls. Hot path, as `closes`."""
        return ()

    def over(self) -> None:
        """No more blocks follow. A stream that lacks the end which its protocol demands has failed: its upstream broke
        off without anybody noticing, and clients would take half an answer for a whole one."""


def is_done(block: Block) -> bool:
    """Whether the block's data is `[DONE]`."""
    return DONE in block.raw and block.data.strip() == DONE
