"""What the dependencies of an endpoint are told that did not get to its end."""

from __future__ import annotations

from starlette.types import Scope

from ...errors import StreamCutError
from ...faults import Fault, FaultCode
from ...runtime import LiveStream
from ...values import Outcome
from .framework import Framework

__all__ = ["close_dependencies"]


async def close_dependencies(framework: Framework, scope: Scope, stream: LiveStream) -> None:
    """If the endpoint did not get to its end, let the dependencies that its framework keeps open see that, so that they
    do not commit half of its work. Otherwise its framework closes them as usual.

    They see what the endpoint raised, or a `StreamCutError` if it was cancelled: by a stop, a limit, the drain.

    Raises:
        Exception: what a dependency raises instead.
    """
    error, cut = stream.first_answer.error, stream.early_end
    if error is None and cut is None:
        return
    if not isinstance(error, Exception):  # it was cancelled, or something that it waited for
        outcome = Outcome.FAILED if cut is None else cut.outcome
        fault = stream.fault or (None if cut is None else cut.fault) or stream.log.lost_to
        if fault is None:
            stopped = outcome is Outcome.STOPPED
            fault = Fault.about(stream, FaultCode.STOPPED if stopped else FaultCode.INTERRUPTED)
        cause, error = error, StreamCutError(fault, outcome)
        error.__cause__ = cause
    await framework.close_dependencies(scope, error)
