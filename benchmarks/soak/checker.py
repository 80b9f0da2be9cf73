"""The checker: a history in, the promises it breaks out. Pure.

The promises are the design's I1 to I12, as `docs/explanation/promises.md` says them for users. A history knows what a
failover lost, so the checker tells a loss that was reported from one that was papered over.
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
