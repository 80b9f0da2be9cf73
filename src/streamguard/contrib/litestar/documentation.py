"""What OpenAPI says of a guarded endpoint: its stream, and the failures that may come before it."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Operation

from ...wire import WireProtocol
from .._openapi.answers import StreamguardError
from .._openapi.descriptions import ENDPOINT_FAULTS, failures, stream_response

__all__ = ["document"]


def document(handler: HTTPRouteHandler, protocol: WireProtocol | None) -> None:
    """Have OpenAPI show what a handler answers. `protocol` is None where only the answer shows it. What the host says
    of a status itself goes before; a handler's own default status, which no stream has, is left out.

    Neither the handler's status nor its media type is touched: they are those of a whole response that it returns.
    """
    stream = stream_response(protocol)
    (media_type,) = stream["content"]
    responses = {
        200: ResponseSpec(str, generate_examples=False, description=stream["description"], media_type=media_type)
    }
    for status, failure in failures(ENDPOINT_FAULTS, {}).items():
        responses[int(status)] = ResponseSpec(
            StreamguardError, generate_examples=False, description=failure["description"]
        )
    own = dict(handler.responses or {})
    handler.responses = {**responses, **own}
    if handler.status_code not in handler.responses:
        handler.operation_class = _without(str(handler.status_code), handler.operation_class)


def _without(status: str, base: type[Operation]) -> type[Operation]:
    """An operation that does not have the response of this status."""

    @dataclass
    class GuardedOperation(base):  # type: ignore[misc, valid-type]
        def __post_init__(self) -> None:
            above = getattr(super(), "__post_init__", None)
            if above is not None:
                above()
            (self.responses or {}).pop(status, None)

    return GuardedOperation
