"""The phases of a stream and the states of its log: which may follow which, and that nothing else says the same."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Callable
from enum import Enum
from itertools import product
from pathlib import Path

import pytest

import streamguard
from streamguard.runtime.producing.activity import Activity
from streamguard.runtime.producing.backlog import Backlog, BacklogState
from streamguard.runtime.producing.first_answer import FirstAnswer
from streamguard.runtime.producing.lifecycle import Lifecycle
from streamguard.runtime.producing.log_access import LogAccess
from streamguard.runtime.producing.notices import Notices
from streamguard.runtime.producing.phases import TRANSITIONS, Answer, IllegalMoveError, LogState, Output, Phase, move
from streamguard.runtime.producing.stream import LiveStream
from streamguard.stores.memory import MemoryStore
from streamguard.values import Outcome

from ..harness.sources import modules_with
from .stage import Model, closed, working

MOST_FIELDS = 26

INDEPENDENT = {
    (LiveStream, "saved"): "it says how the guard is configured, and never changes",
    (LiveStream, "stopped"): "a stop may come in any phase, and the seal decides what it means",
    (Backlog, "urgent"): "it says when to commit, not whether events wait",
    (Backlog, "_shown_told"): "whether its first event was told of, which comes once in any state of the log",
    (Backlog, "_rewound"): "a commit may be under way whose events were put back, which no state tells",
    (Backlog, "undisturbed"): "it sums up the others for the hot path; `test_lone_appends.py` holds it to them",
    (Backlog, "ended"): "the log has its end, however the writer came to know",
    (Backlog, "full"): "it says what the producer does next, in any state of the log",
    (Activity, "request_waits"): "whether the first request waits",
}
"""Every boolean of a stream and its parts, with the reason why no other one follows from it."""

ALL_PAIRS = [(now, to) for states in TRANSITIONS for now, to in product(states, states)]


def name(value: object) -> str:
    return f"{type(value).__name__}.{value.name}" if isinstance(value, Enum) else ""


def test_every_enum_has_its_transitions() -> None:
    assert set(TRANSITIONS) == {Phase, LogState, Output, Answer}
    for states, table in TRANSITIONS.items():
        assert set(table) == set(states)


@pytest.mark.parametrize(("now", "to"), ALL_PAIRS, ids=name)
def test_a_move_is_made_where_it_is_allowed_and_refused_everywhere_else(now: Enum, to: Enum) -> None:
    if to in TRANSITIONS[type(now)][now]:
        assert move(now, to) is to
    else:
        with pytest.raises(IllegalMoveError, match=f"{now.value} cannot become {to.value}") as refused:
            move(now, to)
        assert (refused.value.now, refused.value.to) == (now, to)


@pytest.mark.parametrize(("now", "to"), list(product(Phase, Phase)), ids=name)
def test_a_lifecycle_goes_through_the_phases(now: Phase, to: Phase) -> None:
    lifecycle = Lifecycle()
    lifecycle.phase = now
    if to in TRANSITIONS[Phase][now]:
        lifecycle.move_to(to)
        assert lifecycle.phase is to
    else:
        with pytest.raises(IllegalMoveError):
            lifecycle.move_to(to)
        assert lifecycle.phase is now


STEPS: dict[LogState, Callable[[LogAccess], object]] = {
    LogState.REGISTERING: LogAccess.registering,
    LogState.UNREGISTERED: LogAccess.not_registered,
    LogState.SEALING: LogAccess.begin_sealing,
    LogState.DOUBTED: lambda log: log.end_sealing(answered=False),
    LogState.WITHDRAWN: LogAccess.begin_withdrawing,
    LogState.CLOSED: LogAccess.close,
    LogState.UNWRITTEN: LogAccess.leave,
    LogState.LOST: lambda log: log.lose("test"),
    LogState.DISOWNED: LogAccess.disown,
    LogState.SUPERSEDED: LogAccess.supersede,
}
"""How each state is entered, but for `WRITING`, which needs a record."""

REPEATABLE = (
    {
        (LogState.UNWRITTEN, now)
        for now in LogState
        if now not in (LogState.WRITING, LogState.DOUBTED)  # `leave` concerns these alone
    }
    | {
        (LogState.DOUBTED, now)
        for now in LogState
        if now is not LogState.SEALING  # as `end_sealing` concerns that one
    }
    | {
        (LogState.LOST, LogState.LOST),
        (LogState.LOST, LogState.DISOWNED),
        (LogState.LOST, LogState.SUPERSEDED),
        (LogState.LOST, LogState.WITHDRAWN),
        (LogState.DISOWNED, LogState.DISOWNED),
    }
)
"""Steps that change nothing where there is nothing to change."""


@pytest.mark.parametrize(("now", "to"), list(product(LogState, STEPS)), ids=name)
def test_each_step_of_a_log_is_a_move_or_refused(now: LogState, to: LogState) -> None:
    log = LogAccess()
    log.state = now
    if to in TRANSITIONS[LogState][now]:
        STEPS[to](log)
        assert log.state is to
    elif (to, now) in REPEATABLE:
        STEPS[to](log)
        assert log.state is now
    else:
        with pytest.raises(IllegalMoveError):
            STEPS[to](log)
        assert log.state is now


@pytest.mark.parametrize("now", LogState, ids=name)
def test_a_step_that_sealed_in_vain_goes_on_writing(now: LogState) -> None:
    log = LogAccess()
    log.state = now
    log.end_sealing(answered=True)
    assert log.state is (LogState.WRITING if now is LogState.SEALING else now)


@pytest.mark.anyio
async def test_a_stream_and_its_parts_have_few_fields_and_no_booleans_that_exclude_each_other(
    memory: MemoryStore,
) -> None:
    async with working(memory) as worker:
        stream = await worker.open()
        parts = (
            stream,
            stream.backlog,
            stream.activity,
            stream.log,
            stream.lifecycle,
            stream.first_answer,
            stream.notices,
        )
        fields = {part: type(part).__slots__ for part in parts}
        booleans = {
            (type(part), field)
            for part, names in fields.items()
            for field in names
            if isinstance(getattr(part, field), bool)
        }
        stream.stop()
        await stream.ended()
    assert {type(part): len(names) for part, names in fields.items() if len(names) > MOST_FIELDS} == {}
    assert booleans == set(INDEPENDENT)


OWNED = {
    LiveStream: "stream",
    LogAccess: "log",
    Lifecycle: "lifecycle",
    FirstAnswer: "first_answer",
    Notices: "notices",
}
"""The parts whose fields nobody else changes, by the name that they go under. The watchdog and the producer change the
`Activity`, and the writer the `Backlog`, as these say."""


@pytest.fixture(scope="module")
def assignments() -> list[tuple[str, str, str]]:
    """Where the package assigns to a field of such a part, or to one called so: whose, which, and where."""
    fields = {field for part in OWNED for field in vars(part)["__slots__"]}
    return [
        (ast.unparse(node.value), node.attr, f"{path.name}:{node.lineno} {ast.unparse(node)}")
        for path, module in modules_with(fields, Path(streamguard.__file__).parent)
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in fields
    ]


@pytest.mark.parametrize(("part", "called"), OWNED.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_part_changes_its_fields_itself(part: type, called: str, assignments: list[tuple[str, str, str]]) -> None:
    """Elsewhere no `stream.field = …`: whoever wants a change calls a method, which makes a legal move."""
    fields = set(vars(part)["__slots__"])
    changed = [
        place
        for holder, field, place in assignments
        if field in fields and (holder == called or holder.endswith((f".{called}", f"_{called}")))
    ]
    assert changed == []


@pytest.mark.anyio
async def test_a_stream_goes_through_its_phases_once(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        assert (stream.lifecycle.phase, stream.log.state) == (Phase.PRODUCING, LogState.WRITING)
        assert (stream.output, stream.first_answer.state) == (Output.ITEMS, Answer.ANSWERED)
        stream.stop()
        stream.stop()
        assert (stream.lifecycle.phase, stream.stopped) == (Phase.CANCELLED, True)
        await stream.ended()
        assert (stream.lifecycle.phase, stream.log.state) == (Phase.FINISHED, LogState.CLOSED)
        stream.finish()
        assert not stream.begin_finalising()
        meta = await closed(memory, stream.ref)
    assert meta.seal is not None
    assert meta.seal.outcome is Outcome.STOPPED


@pytest.mark.anyio
async def test_a_closed_backlog_stays_closed(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await worker.start(Model("a"))
        await stream.first(5)
        backlog = stream.backlog
        assert (backlog.state, backlog.unacked) == (BacklogState.IDLE, 0)
        stream.degrade("test")
        backlog.added()
        backlog.flush()
        backlog.resubmit()
        assert backlog.state is BacklogState.CLOSED
        assert (backlog.ask(0.0), backlog.pending_bytes, backlog.over_capacity) == (False, 0, False)
        await backlog.wait_until_sent()
        stream.stop()
        await stream.ended()


@pytest.mark.anyio
async def test_who_is_cancelled_while_the_phase_changes_hears_of_the_cancellation() -> None:
    """The waiter is woken by neither alone: both come in one turn of the event loop."""
    lifecycle = Lifecycle()
    waiting = [asyncio.create_task(lifecycle.ending()), asyncio.create_task(lifecycle.finished())]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    lifecycle.move_to(Phase.CANCELLED)
    for task in waiting:
        with pytest.raises(asyncio.CancelledError):
            await task
