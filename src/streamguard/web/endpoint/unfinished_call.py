"""What the dependencies of an endpoint are told that did not get to its end."""

from __future__ import annotations

from starlette.types import Scope

from ...errors import StreamCutError
from ...faults import Fault, FaultCode
from ...runtime import LiveStream
from ...values import Outcome
from .framework import Framework

__all__ = ["UnfinishedCall"]


class UnfinishedCall:
    """The call of an endpoint in a framework that keeps dependencies open for it, to be called once its stream is over.

    It keeps nothing but what an open stream keeps anyway.
    """

    __slots__ = ("_framework", "_scope", "_stream")

    def __init__(self, framework: Framework, scope: Scope, stream: LiveStream) -> None:
        self._framework = framework
        self._scope = scope
        self._stream = stream

    async def __call__(self) -> None:
        """If the endpoint did not get to its end, let the dependencies that its framework keeps open see that, so that
        they do not commit half of its work. Otherwise its framework closes them as usual.

        They see what the endpoint raised, or a `StreamCutError` if it was cancelled: by a stop, a limit, the drain.

        Raises:
            Exception: what a dependency raises instead.
        """
        error = _failure_of(self._stream)
        if error is not None:
            await self._framework.close_dependencies(self._scope, error)


def _failure_of(stream: LiveStream) -> Exception | None:
    """What the dependencies of a stream's endpoint are told; None if the endpoint got to its end."""
    error, cut = stream.first_answer.error, stream.early_end
    if error is None and cut is None:
        return None
    if not isinstance(error, Exception):  # it was cancelled, or something that it waited for
        outcome = Outcome.FAILED if cut is None else cut.outcome
        fault = stream.fault or (None if cut is None else cut.fault) or stream.log.lost_to
        if fault is None:
            stopped = outcome is Outcome.STOPPED
            fault = Fault.about(stream, FaultCode.STOPPED if stopped else FaultCode.INTERRUPTED)
        cause, error = error, StreamCutError(fault, outcome)
        error.__cause__ = cause
    return error
