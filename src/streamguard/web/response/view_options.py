"""What a client's view of a stream looks like, apart from what is said in it."""

from __future__ import annotations

from typing import NamedTuple

from starlette.requests import Request

from ..guard_context import GuardContext

__all__ = ["ViewOptions"]


class ViewOptions(NamedTuple):
    """Of one response."""

    ids: bool
    """Whether blocks carry ids."""
    keep_alive: bytes
    """What goes out while nothing is said."""

    @classmethod
    def of(cls, context: GuardContext, request: Request, *, binding: str, ids: bool) -> ViewOptions:
        """For a request about a stream of the endpoint `binding`. `?ids=1` and `?ids=0` decide on ids, else `ids`."""
        asked = request.query_params.get("ids", "")
        ids = {"1": True, "true": True, "0": False, "false": False}.get(asked, ids)
        return cls(ids, context.endpoints.keep_alive(binding, ids=ids))
