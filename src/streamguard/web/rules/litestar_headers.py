"""The headers that Litestar has read of a request before they were changed."""

from __future__ import annotations

import sys

from starlette.types import Scope

__all__ = ["have_litestar_read_them"]


def have_litestar_read_them(scope: Scope) -> None:
    """Litestar keeps the headers that it has read once beside the scope, and would go on with those."""
    state = scope.get("state")
    if isinstance(state, dict) and (kept := state.get("_ls_connection_state")) is not None:
        types = sys.modules.get("litestar.types")
        if types is not None:
            kept.headers = types.Empty
