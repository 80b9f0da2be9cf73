"""What a guard can be asked to do, and the roles that its store must have for it."""

from __future__ import annotations

from enum import Enum

from ..errors import ConfigurationError
from .roles.outbox import Outbox
from .roles.request_claims import RequestClaims
from .roles.stream_registry import StreamRegistry
from .roles.stream_writes import StreamWrites
from .roles.viewer_reports import ViewerReports

__all__ = ["Ability", "require"]


class Ability(Enum):
    """Something that needs more of a store than `StreamLog`. `WorkSharing` and `Inspection` are needed for nothing
    here: without the first, streams of dead workers end when their sessions are next used; without the second, the
    command line lists none."""

    ENDPOINTS = "a guarded endpoint", (StreamRegistry, StreamWrites, RequestClaims)
    SAVES = "messages=… or save=…", (Outbox,)
    """What cannot be saved in time is owed."""
    QUOTAS = "quota=…", (Outbox,)
    """What cannot be settled in time is owed."""
    ABANDONMENT = "abandon_after_seconds=…", (ViewerReports,)
    """A worker must know of viewers on other workers."""

    def __init__(self, option: str, roles: tuple[type, ...]) -> None:
        self.option = option
        """What asks for it, as messages name it."""
        self.roles = roles


def require(store: object, ability: Ability) -> None:
    """Check that a store has the roles for something.

    Raises:
        ConfigurationError: it lacks some.
    """
    lacking = [role.__name__ for role in ability.roles if not isinstance(store, role)]
    if lacking:
        roles = "the role " if len(lacking) == 1 else "the roles "
        raise ConfigurationError(
            f"{ability.option} needs a stream store with {roles}{' and '.join(lacking)}, which {type(store).__name__} "
            "lacks; streamguard.stores says what each role is for"
        )
