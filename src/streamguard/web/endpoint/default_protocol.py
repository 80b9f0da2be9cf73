"""Which protocol an endpoint speaks that names none."""

from __future__ import annotations

import typing
from collections.abc import AsyncIterable, Iterable, Iterator
from typing import Final

from ...wire.server_sent import is_event_class
from .signature import EndpointKind, EndpointSignature

__all__ = ["GENERATED", "PASSED_ON", "RECOGNISED", "default_protocol"]

GENERATED: Final = "ui-message"
PASSED_ON: Final = "opaque"
RECOGNISED: Final = "auto"


def default_protocol(signature: EndpointSignature) -> str:
    """The protocol of an endpoint that names none.

    Items that an endpoint yields are the AI SDK's, unless its annotation says that they are server-sent events. What
    it returns decides by itself, unless its annotation says that it is an iterator: then its items count as yielded.
    """
    if is_event_class(_item_type(signature)):
        return PASSED_ON
    if signature.kind in (EndpointKind.ASYNC_GENERATOR, EndpointKind.SYNC_GENERATOR):
        return GENERATED
    origin = typing.get_origin(signature.returns) or signature.returns
    if isinstance(origin, type) and (
        origin in (Iterable, list, tuple) or issubclass(origin, (AsyncIterable, Iterator))
    ):
        return GENERATED
    return RECOGNISED


def _item_type(signature: EndpointSignature) -> object:
    """The type of the items in the return annotation: `str` of `AsyncIterator[str]`; None without one."""
    arguments = typing.get_args(signature.returns)
    return arguments[0] if arguments else None
