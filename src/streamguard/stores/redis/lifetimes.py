"""How long the keys last that several sessions have in common."""

from __future__ import annotations

from typing import Final

__all__ = ["INDEX_TTL_MS", "OWNER_TTL_MS"]

INDEX_TTL_MS: Final = 8 * 86_400_000
"""Of an index. Longer than any stream is kept with work owed (`outbox_retention_seconds`, a week); every write renews
it, those of registrations once an eighth of it has passed."""

OWNER_TTL_MS: Final = 86_400_000
"""Of an owner's slots, likewise: longer than any lease."""
