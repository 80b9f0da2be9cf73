"""The short way of a lone event asks for the same append as the long one, and is taken only when nothing else is up."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from streamguard.runtime.producing.backlog import REFRESH_SECONDS, Backlog, BacklogState
from streamguard.runtime.producing.bounds import Bounds
from streamguard.runtime.producing.commit_passes import acknowledge_all, ask_for_lone
from streamguard.runtime.producing.log_owner import LogOwner
from streamguard.runtime.viewing.feed import Feed
from streamguard.settings import Settings
from streamguard.stores.appends import Append, LateDecision
from streamguard.stores.budget import Budget
from streamguard.values import EventKind, Position, SessionKey, StreamRef
from streamguard.wire import protocol_named

pytestmark = pytest.mark.anyio

USUAL_SECONDS = 1.95
STEPS = (
    "add", "add", "add", "add notice", "commit", "commit", "commit", "acknowledge", "acknowledge", "acknowledge",
    "fail", "flush", "wait", "wake", "rewind", "a minute", "close",
)  # fmt: skip


@dataclass
class Owner:
    """What the backlog tells its stream, which here is nobody."""

    play: Play
    told: list[str] = field(default_factory=list)

    def emit(self, kind: EventKind, payload: bytes) -> None:
        self.play.feed.push(kind, payload)
        self.play.backlog.added()

    def shown(self) -> None:
        self.told.append("shown")

    def degrade(self, reason: str, error: Exception | None = None) -> None:
        self.told.append(reason)


class Play:
    """A backlog, its writer and its producer, a step at a time."""

    def __init__(self, *, decided: bool, limit_bytes: int = 1_000_000) -> None:
        ref = StreamRef(SessionKey("ana", "chat"), "0" * 24)
        self.feed = Feed(protocol_named("plain"), ref.stream_id, start=Position(0, 0), limit_bytes=limit_bytes)
        self.now = 0.0
        self.dirty = False
        """Whether the writer knows that events wait."""
        self.backlog = Backlog(
            feed=self.feed,
            ref=ref,
            owner=cast("LogOwner", Owner(self)),
            bounds=Bounds(ref, self.feed, Settings()),
            budget=cast("Budget", None),  # the writer's, whose first commits are not played
            queue=self,
            refresh_at=REFRESH_SECONDS,
        )
        self.backlog.begin_epoch(7)
        if decided:
            self.backlog.decide(LateDecision("plain", "", "msg"))
        self.under_way = False
        self.visible = 0
        self.waiters: list[Any] = []

    def submit(self, _: Backlog) -> None:
        self.dirty = True

    enqueue = submit

    def step(self, step: str) -> None:
        backlog, closed = self.backlog, self.backlog.closed
        match step:
            case "add" if not closed:
                backlog.add_data(b"x" * (1 + self.feed.emitted % 90))
            case "add notice" if not closed:
                self.feed.push(EventKind.NOTICE, b"{}")
                backlog.added()
            case "commit" if not self.under_way and self.dirty:
                self.commit()
            case "acknowledge" if self.under_way and not closed:
                self.under_way = False
                dirty: dict[Backlog, None] = {}
                assert acknowledge_all([backlog], dirty) is None
                self.dirty = bool(dirty) or self.dirty
            case "fail" if self.under_way and not closed:
                self.under_way, self.dirty = False, True
                backlog.failing_since, backlog.undisturbed = self.now, False
            case "flush":
                backlog.flush()
            case "wait" if not self.waiters:
                waiting = backlog.wait_until_shown()
                cast("Any", waiting).send(None)
                self.waiters.append(waiting)
            case "wake" if self.waiters:
                self.waiters.pop().close()
            case "rewind" if not closed:
                backlog.put_back(max(backlog.acked - 2, 0))
            case "a minute":
                self.now += REFRESH_SECONDS
            case "close":
                backlog.close()

    def commit(self) -> None:
        backlog, feed, self.dirty = self.backlog, self.feed, False
        waits, first = feed.emitted > backlog.acked, backlog.acked + 1
        events = list(feed.payloads(first, feed.emitted)) if waits else []
        refresh = self.now >= backlog.refresh_at
        short = not ask_for_lone([backlog], self.now)
        asks = short or backlog.ask(self.now)
        assert asks == (waits and not backlog.closed)
        if not asks:
            return
        if not short:
            backlog.within_seconds = 0.5 if backlog.failing_since is not None else USUAL_SECONDS
        self.under_way = True
        assert (backlog.first_seq, list(backlog.events), backlog.refresh) == (first, events, refresh)
        same = Append(backlog.ref, backlog.epoch, first, events, refresh, math.inf, backlog.decided)
        assert backlog.lone == same.lone
        if short:
            assert backlog.lone is not None
            assert backlog.within_seconds == USUAL_SECONDS
            assert backlog.failing_since is None
            assert not backlog.urgent

    def check(self) -> None:
        backlog = self.backlog
        if backlog.unacked and not (backlog.closed or self.under_way):
            assert self.dirty
        if not backlog.closed:
            assert backlog.pending_bytes == self.feed.size(backlog.acked + 1, self.feed.emitted)
            assert backlog.in_flight_bytes >= 0
        assert backlog.feed.visible <= max(self.visible, backlog.acked)
        assert backlog.feed.visible >= self.visible
        self.visible = backlog.feed.visible
        if backlog.undisturbed:
            assert backlog.acked == backlog.feed.visible
            assert not backlog.urgent
            assert backlog.failing_since is None
            assert backlog.first_commit is None
            assert backlog._waiting == 0
            assert backlog.state is not BacklogState.CLOSED
            assert not backlog.refresh


async def play(seed: int) -> None:
    chosen = random.Random(seed)
    played = Play(decided=chosen.random() < 0.5)
    for step in chosen.choices(STEPS, k=60):
        played.step(step)
        played.check()
    for waiter in played.waiters:
        waiter.close()


@pytest.mark.parametrize("seed", range(50))
async def test_the_short_way_asks_for_what_the_long_one_would(seed: int) -> None:
    for each in range(20 * seed, 20 * seed + 20):
        await play(each)


async def test_a_commit_under_way_says_nothing_of_what_was_put_back_meanwhile() -> None:
    """An older snapshot of the log came back while it was under way: all that follows is asked for again."""
    played = Play(decided=True)
    for step in ("add", "add", "commit", "acknowledge", "add", "commit"):
        played.step(step)
    backlog = played.backlog
    backlog.put_back(1)
    assert (backlog.acked, backlog.in_flight_bytes) == (1, 0)
    played.step("acknowledge")
    assert backlog.acked == 1
    assert backlog.state is BacklogState.PENDING
    assert backlog.pending_bytes == played.feed.size(2, 3)
    played.step("commit")
    assert (backlog.first_seq, len(backlog.events)) == (2, 2)


async def test_a_stream_at_reading_speed_takes_it() -> None:
    played = Play(decided=True)
    short = []
    for _ in range(6):
        played.step("add")
        short.append(played.backlog.undisturbed)
        played.step("commit")
        played.step("acknowledge")
    assert short == [False, True, True, True, True, True]


async def test_its_window_is_trimmed() -> None:
    played = Play(decided=True, limit_bytes=1_000)
    played.feed.listen(lambda *_: None)
    short = 0
    for _ in range(300):
        played.step("add")
        short += played.backlog.undisturbed
        played.step("commit")
        played.step("acknowledge")
        assert played.feed.held_bytes <= 2_200, "twice the limit, and an event"
    assert played.feed.base > 200
    assert short > 200
