"""What a request changes of its conversation: which messages it supersedes, as far as its client says."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Revision"]


@dataclass(frozen=True, slots=True)
class Revision:
    """An edited question, or an answer that is asked for again: what the conversation had from there on is superseded.

    What runs in the session is stopped for it, unless it writes a message that is kept.
    """

    start: str | None = None
    """The id of the first message that is superseded; None where the client does not say. Of an edited question, its
    own: the new one has the same."""
    kept: tuple[str, ...] | None = None
    """The ids of the messages before it, in order; None where the client does not say."""

    def keeps(self, message_id: str) -> bool:
        """Whether a message is known to stay."""
        return self.kept is not None and message_id in self.kept
