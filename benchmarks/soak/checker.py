"""The checker takes a history and returns the promises that it breaks. Pure.

The promises are the design's I1 to I12, which `docs/explanation/promises.md` explains to users. A history records what
a failover lost, so the checker can tell a reported loss from a hidden one.
"""

from __future__ import annotations

from .ends import check_ends
from .facts import Facts, Violation
from .history import History
from .keeping import check_counted, check_saved
from .views import check_views

__all__ = ["Violation", "check"]


def check(history: History) -> list[Violation]:
    """Every violation, in the order of the promises."""
    facts = Facts(history)
    found = [*check_views(facts), *check_ends(facts), *check_saved(facts), *check_counted(facts)]
    return sorted(found, key=lambda one: (int(one.promise[1:]), one.subject))
