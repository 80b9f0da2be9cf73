"""Which of a session's messages a request asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...values import MAX_SEQ

__all__ = ["MessagePage", "page_of"]

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class MessagePage:
    """One page of a session's messages."""

    after: int
    """The position before the first."""
    limit: int
    branches: bool
    """Whether the messages of old branches are among them."""


def page_of(request: Request) -> MessagePage:
    """The page that `?after=`, `?limit=` and `?branches=` ask for.

    Raises:
        FaultError: `request_invalid`.
    """
    return MessagePage(
        _number(request, "after", default=0, lowest=0, highest=MAX_SEQ),
        _number(request, "limit", default=DEFAULT_LIMIT, lowest=1, highest=MAX_LIMIT),
        _number(request, "branches", default=0, lowest=0, highest=1) == 1,
    )


def _number(request: Request, name: str, *, default: int, lowest: int, highest: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(highest)) else -1
    if not lowest <= number <= highest:
        raise FaultError(
            Fault.of(
                FaultCode.REQUEST_INVALID,
                message=f"{name} is a number from {lowest} to {highest}.",
                reason=f"{name}_invalid",
            )
        )
    return number
