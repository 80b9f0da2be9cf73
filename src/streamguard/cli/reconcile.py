"""`streamguard reconcile`: end what dead workers left, and settle what is owed, in a process of its own."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Annotated, Final

import typer

from ..frames import described
from ..guard import StreamGuard
from ..observations import Observation, Signal
from ..quota import ReservationState
from ..reconcile.reconciler import Planned, Reconciler, Step
from ..reconcile.results import Result, Treated
from ..telemetry.audit import AuditAction
from ..telemetry.safety import short_hash
from .audit import Audit, OperatorTrail, audited
from .exits import CommandError, ExitCode
from .interrupting import told_to_end
from .options import AsJson, Limit, run
from .output import Output, amounts, count, duration, safe, table
from .shapes import ids_shape

__all__ = ["reconcile"]

App = Annotated[
    str,
    typer.Option(
        "--app",
        metavar="MODULE:GUARD",
        help="The application's guard, as `shop.chat:guard`; modules are looked for here first.",
        show_default=False,
    ),
]

_EVENTS: Final = {
    Signal.ORPHAN_SETTLED: "orphan_settled",
    Signal.SAVE_RECOVERED: "save_recovered",
    Signal.SETTLEMENT_RECOVERED: "settlement_recovered",
    Signal.RESERVATION_EXPIRED: "reservation_expired",
    Signal.SAVE_FAILED: "save_failed",
    Signal.SAVE_BURIED: "save_buried",
    Signal.SAVE_OWED: "save_owed",
    Signal.TASK_RESTARTED: "task_restarted",
    Signal.BREAKER_OPENED: "store_unreachable",
    Signal.BREAKER_CLOSED: "store_reachable",
}
"""What is told of what the guard observes, and as what."""

_BAD: Final = frozenset({"save_failed", "save_buried", "save_owed", "task_restarted"})
_ELSEWHERE: Final = frozenset({"taken_by_another", "gone", "live", "owed", *ReservationState})
"""Why something was left that somebody else does, or nobody has to."""
_FIELDS: Final = ("outcome", "reason", "attempts", "breaker", "task")

_COLUMNS: Final = ("STREAM", "OWNER", "SESSION", "ENDPOINT", "WAITING", "ATTEMPTS", "WOULD")
_STEPS: Final[Mapping[Step, str]] = {
    Step.INTERRUPT: "end as interrupted",
    Step.STOP: "end as stopped",
    Step.FINISH: "finish its end",
    Step.SAVE: "save",
    Step.SETTLE: "settle its quota",
    Step.DROP: "strike out: its endpoint does not save",
    Step.EXPIRE: "give back",
    Step.LEAVE_BINDING: "leave: unknown endpoint",
    Step.LEAVE_PROTOCOL: "leave: unknown protocol",
}


def reconcile(
    app: App,
    once: Annotated[bool, typer.Option("--once", help="One round; otherwise go on until Ctrl-C or SIGTERM.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what a round would do.")] = False,
    impatient: Annotated[
        bool,
        typer.Option("--impatient", help="With --once, do not first watch the store for the length of a lease."),
    ] = False,
    limit: Limit = 1_000,
    audit: Audit = None,
    as_json: AsJson = False,
) -> None:
    """End streams whose worker is gone, make saves and settlements that are owed, and free what nobody holds any more
    of a quota, as every worker does beside its work.

    A round begins only when the store has answered for the length of a lease, so that after an outage of the store
    live workers come first. What the application itself prints goes to standard error.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        with redirect_stdout(sys.stderr):
            guard = _guard_of(app)
            if dry_run:
                return await _plan(output, guard, limit)
            async with audited(audit, AuditAction.RECONCILE) as trail:
                if once:
                    return await _once(output, guard, trail, patience=not impatient)
                return await _until_told(output, guard, trail)

    run(output, work)


def _guard_of(name: str) -> StreamGuard:
    """The guard an application has under that name.

    Raises:
        CommandError: there is none.
    """
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise CommandError(ExitCode.USAGE, "usage", "--app takes MODULE:GUARD, as in --app shop.chat:guard")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: object = importlib.import_module(module_name)
    except Exception as exc:
        text = f"{module_name} cannot be imported: {described(exc)}"
        raise CommandError(ExitCode.USAGE, "app_failed", text) from exc
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise CommandError(ExitCode.USAGE, "usage", f"{module_name} has no {path}") from None
    if not isinstance(found, StreamGuard):
        raise CommandError(ExitCode.USAGE, "usage", f"{name} is no StreamGuard but of the class {type(found).__name__}")
    return found


def _shared(reconciler: Reconciler) -> Reconciler:
    if not reconciler.shared:
        raise CommandError(
            ExitCode.USAGE, "usage", "memory:// streams are in their own process; no other process can see them"
        )
    return reconciler


# -- a dry run --------------------------------------------------------------------------------------------------------


async def _plan(output: Output, guard: StreamGuard, limit: int) -> ExitCode:
    async with guard.reconciling() as reconciler:
        planned = [one async for one in _shared(reconciler).plan(limit=limit)]
    if output.as_json:
        output.value({"planned": [_planned_shape(one) for one in planned]})
    else:
        if planned:
            output.show(table(_COLUMNS, [_planned_row(one) for one in planned], right=("WAITING", "ATTEMPTS")))
        output.line(f"{len(planned)} to do; nothing was done" if planned else "nothing to do")
    return ExitCode.PROBLEMS if planned else ExitCode.OK


def _planned_shape(one: Planned) -> dict[str, object]:
    return {
        **ids_shape(one.ref),
        "binding": one.binding,
        "waiting_seconds": None if one.waiting_seconds is None else round(one.waiting_seconds, 3),
        "attempts": one.attempts,
        "step": one.step,
        "reserved": None if one.reserved is None else dict(one.reserved),
    }


def _planned_row(one: Planned) -> Sequence[str]:
    return (
        one.ref.stream_id,
        short_hash(one.ref.key.owner),
        one.ref.key.session_id,
        one.binding or "-",
        "-" if one.waiting_seconds is None else duration(one.waiting_seconds),
        str(one.attempts),
        _STEPS[one.step] if one.reserved is None else f"{_STEPS[one.step]} {amounts(one.reserved)}",
    )


# -- doing it ---------------------------------------------------------------------------------------------------------


class _Reporter:
    """An observer that tells of what is done, and keeps it."""

    def __init__(self, output: Output, *, streaming: bool) -> None:
        self._output = output
        self._streaming = streaming
        self.events: list[dict[str, object]] = []
        self.counts: Counter[str] = Counter()

    def __call__(self, observation: Observation) -> None:
        name = _EVENTS.get(observation.name)
        if name is None or observation.fields.get("retried"):  # what comes of it is told too
            return
        shape = _event_shape(name, observation)
        self.counts[name] += 1
        if not self._streaming:
            self.events.append(shape)
        if not self._output.as_json:
            self._output.line(_event_line(shape))
        elif self._streaming:
            self._output.value(shape)


def _event_shape(name: str, observation: Observation) -> dict[str, object]:
    shape: dict[str, object] = {"event": name}
    if observation.ref is not None:
        shape.update(ids_shape(observation.ref))
    if observation.message_id is not None:
        shape["message_id"] = observation.message_id
    shape.update({field: observation.fields[field] for field in _FIELDS if field in observation.fields})
    return shape


def _event_line(shape: Mapping[str, object]) -> str:
    name, *rest = shape
    return " ".join([str(shape[name]), *(f"{field}={safe(str(shape[field]))}" for field in rest)])


async def _once(output: Output, guard: StreamGuard, trail: OperatorTrail, *, patience: bool) -> ExitCode:
    reporter = _Reporter(output, streaming=False)
    async with guard.reconciling(reporter) as reconciler:
        report = await _shared(reconciler).once(patience=patience)
    counts = reporter.counts
    trail.note(AuditAction.RECONCILE, outcome="ok", count=counts["orphan_settled"])
    left = [one for one in report.treated if one.result is Result.LEFT and one.reason not in _ELSEWHERE]
    if output.as_json:
        totals = {name: counts[name] for name in _EVENTS.values()}
        output.value({**totals, "left": [_left_shape(one) for one in left], "events": reporter.events})
    else:
        for one in left:
            output.line(f"left stream_id={one.ref.stream_id} duty={one.duty} reason={safe(one.reason)}")
        output.line(
            f"{count(counts['orphan_settled'], 'stream')} ended, {count(counts['save_recovered'], 'save')} made, "
            f"{counts['save_failed']} failed, {counts['save_buried']} given up, "
            f"{counts['settlement_recovered']} settled late, "
            f"{count(counts['reservation_expired'], 'reservation')} expired"
        )
    return ExitCode.PROBLEMS if left or any(counts[name] for name in _BAD) else ExitCode.OK


def _left_shape(one: Treated) -> dict[str, object]:
    return {
        **ids_shape(one.ref),
        "duty": one.duty,
        "reason": one.reason,
    }


async def _until_told(output: Output, guard: StreamGuard, trail: OperatorTrail) -> ExitCode:
    reporter = _Reporter(output, streaming=True)
    with told_to_end() as told:
        async with guard.reconciling(reporter) as reconciler:
            _shared(reconciler).supervise()
            if not output.as_json:
                output.line("reconciling; Ctrl-C ends it")
            trail.note(AuditAction.RECONCILE, outcome="begun")
            await told.wait()
    trail.note(AuditAction.RECONCILE, outcome="ended", count=reporter.counts["orphan_settled"])
    return ExitCode.OK
