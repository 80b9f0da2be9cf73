"""How a client's view of a stream is written, apart from the stream's own events."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from ...facts import facts
from ..guard_context import GuardContext

__all__ = ["IDS_ASKED", "ViewOptions"]

IDS_ASKED: Final = {"1": True, "true": True, "0": False, "false": False}
"""What `ids` in the query may say. Any other value is the application's own parameter, and is left to it."""


@facts
class ViewOptions:
    """The options of one response."""

    ids: bool | None
    """Whether blocks carry ids; None: as the protocol's do by themselves."""
    keep_alive: bytes
    """What is sent while the stream is silent, if blocks carry none."""

    @classmethod
    def of(cls, context: GuardContext, request: Request, *, binding: str, ids: bool | None) -> ViewOptions:
        """The options for a request about a stream of the endpoint `binding`. `?ids=1` and `?ids=0` override `ids`."""
        if request.scope.get("query_string"):  # else there is nothing to read
            ids = IDS_ASKED.get(request.query_params.get("ids", ""), ids)
        return cls(ids, context.endpoints.keep_alive(binding))
