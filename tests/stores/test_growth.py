"""No step costs more because sessions finished, their owner has a history, other streams run, or work is owed: it is
counted.

On Redis, every command that the server carries out, those inside scripts too, every key that a stream leaves, and for
listings, which can read very much with one command, the bytes of the replies. In memory, every instruction of Python.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import pytest

from streamguard.stores.appends import Append
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.roles.inspection import Inspection
from streamguard.stores.roles.outbox import Outbox
from streamguard.stores.roles.viewer_reports import ViewerReports
from streamguard.stores.roles.work_sharing import WorkSharing
from streamguard.stores.roles.worker_reports import WorkerReports
from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.steps import (
    begin,
    closing,
    data,
    end,
    epoch_of,
    new_stream,
    put,
    registered,
    seal,
    sibling,
    try_register,
)
from streamguard.values import START, Persisted, Position, SessionKey, StreamRef
from tests.harness.redis import RedisServer

from .backlogs import bytes_sent, fill_outbox

pytestmark = [pytest.mark.anyio, pytest.mark.repeats]

KEY = SessionKey("ann", "chat")
UNCOUNTED = ("info", "config", "scan", "dbsize", "ping", "script")

Step = Callable[[], Awaitable[object]]


class RedisBench:
    """A store whose server counts."""

    slack = 4
    """A step may meet another one's lazy work, of a few commands."""

    def __init__(self, server: RedisServer) -> None:
        self.client = server.client()
        self.store: StreamStore = RedisStore(server.url, command_seconds=20.0)

    async def cost(self, step: Step) -> int:
        """The commands of one call of a step: the least of some, since now and then one renews or clears up."""
        return min([await self._commands(step) for _ in range(4)])

    async def _commands(self, step: Step) -> int:
        self.client.config_resetstat()
        await step()
        found: dict[str, Any] = self.client.info("commandstats")
        return sum(
            int(stats["calls"])
            for name, stats in found.items()
            if not name.removeprefix("cmdstat_").startswith(UNCOUNTED)
        )

    async def sent(self, step: Step) -> int:
        """The bytes that the server sends in one call of a step: the least of some."""
        return min([await self._bytes(step) for _ in range(4)])

    async def _bytes(self, step: Step) -> int:
        before = bytes_sent(self.client)
        asking = bytes_sent(self.client) - before
        await step()
        return bytes_sent(self.client) - before - 2 * asking

    def copy(self, ref: StreamRef, numbers: range) -> None:
        """Sessions that ended like that of `ref`, in great number."""
        tag = self._tag(ref.key)
        keys: list[bytes] = list(self.client.scan_iter(b"*%b*" % tag, count=10_000))
        assert len(keys) >= 3
        copying = self.client.register_script(
            "for n = 2, #ARGV do for _, key in ipairs(KEYS) do "
            "redis.call('COPY', key, (string.gsub(key, ARGV[1], ARGV[n]))) end end"
        )
        # Sessions of other names have tags of the same form.
        tags = [self._tag(SessionKey(ref.key.owner, f"copy-{number}")) for number in numbers]
        for begin_at in range(0, len(tags), 1_000):
            copying(keys, [tag.replace(b"-", b"%-"), *tags[begin_at : begin_at + 1_000]])

    def _tag(self, key: SessionKey) -> bytes:
        assert isinstance(self.store, RedisStore)
        whole = self.store._redis.keys.session(key).session
        return whole[whole.index(b"{") + 1 : whole.index(b"}")]


class MemoryBench:
    """A store whose instructions are counted."""

    slack = 300
    """As above; a loop over a thousand of anything has many more."""

    def __init__(self) -> None:
        self.store: StreamStore = MemoryStore()
        self._instructions = 0

    async def cost(self, step: Step) -> int:
        """The instructions of one call of a step: the least of some, as above."""
        costs = []
        for _ in range(4):
            with self._counting():
                await step()
            costs.append(self._instructions)
        return min(costs)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        self._instructions = 0
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._instructions += event == "opcode"
        return self._trace


Bench = RedisBench | MemoryBench


@pytest.fixture(params=["memory", "redis"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    bench: Bench = MemoryBench()
    if request.param == "redis":
        bench = RedisBench(request.getfixturevalue("own_redis")())
    await bench.store.start()
    yield bench
    await bench.store.aclose()


async def answered(store: StreamStore, key: SessionKey, *, events: int = 3) -> StreamRef:
    """A reply, from its POST to its end."""
    ref = registered(await try_register(store, new_stream(key), limit=8)).ref
    await put(store, ref, 1, *[b"x"] * events)
    await end(store, ref, events)
    return ref


def outbox_listings(store: StreamStore, owing: StreamRef) -> dict[str, Step]:
    """What operators, and sweeps, see of the outbox."""
    return {
        "sweep: dry run": lambda: store.peek_due(limit=10),
        "depths": store.depths,
        "the outbox": lambda: store.outbox_page(dead=False, limit=10),
        "dead letters": lambda: store.outbox_page(dead=True, limit=10),
        "first of the outbox": lambda: store.outbox_entries(dead=False, limit=10),
        "an entry": lambda: store.outbox_entry(owing.stream_id, key=owing.key),
    }


async def costs_of(bench: Bench) -> dict[str, int]:
    """What each step of a request, a listing and a sweep costs now."""
    store = bench.store
    for _ in range(70):  # bounded lists and slices of its streams are full then
        ended = await answered(store, KEY)
    last = Position(epoch_of(ended), 5)
    running = await begin(store, sibling(KEY))
    await put(store, running, 1, b"x")
    owing = await begin(store, sibling(KEY))
    await seal(store, owing)
    await store.enqueue(owing, due_seconds=-1.0)
    await store.close(closing(owing, owed=b"{}"))
    said = 1

    async def append() -> None:
        nonlocal said
        said += 1
        await put(store, running, said, b"x")

    async def post_to_end() -> None:
        await answered(store, sibling(KEY))

    async def post_again() -> None:
        await answered(store, KEY)

    steps: dict[str, Step] = {
        "a reply, from its POST to its end, in a new session": post_to_end,
        "the same in an old session": post_again,
        "append": append,
        "heartbeat": lambda: store.heartbeat([(running, epoch_of(running))], lease_seconds=60.0, ttl_seconds=60.0),
        "resume, status": lambda: store.session(KEY),
        "resume after a cursor": lambda: store.check_position(ended, last),
        "replay": lambda: store.read(ended, START, max_bytes=65_536),
        "record": lambda: store.meta(ended),
        "stop": lambda: store.request_stop(running),
        "ps": lambda: store.active_streams(limit=10),
        "ps, workers": lambda: store.worker_reports(limit=10),
        "ps, viewers": store.viewer_counts,
        "sweep: orphans": lambda: store.expired_leases(limit=10),
        "sweep: outbox": lambda: store.claim_due(limit=10, claim_seconds=60.0),
        "sweep: partition": lambda: store.partition("worker", lease_seconds=60.0),
        "a session's streams": lambda: store.session_streams(KEY, limit=1),
        **outbox_listings(store, owing),
    }
    costs = {name: await bench.cost(step) for name, step in steps.items()}
    await end(store, running, said)
    await store.complete(owing, persisted=Persisted.YES, retention_seconds=60.0)
    return costs


def compare(bench: Bench, few: dict[str, int], many: dict[str, int]) -> None:
    grown = {name: (few[name], many[name]) for name in few if many[name] > few[name] + bench.slack}
    assert grown == {}


@pytest.mark.long
async def test_no_step_costs_more_after_a_thousand_finished_sessions(bench: Bench) -> None:
    for number in range(10):
        await answered(bench.store, SessionKey("ann", f"old-{number}"))
    few = await costs_of(bench)
    for number in range(1_000):
        await answered(bench.store, SessionKey("ann", f"older-{number}"))
    compare(bench, few, await costs_of(bench))


@pytest.mark.slow
async def test_no_step_costs_more_after_a_hundred_thousand_finished_sessions(bench: Bench) -> None:
    ended = await answered(bench.store, SessionKey("ann", "old"))
    few = await costs_of(bench)
    if isinstance(bench, RedisBench):
        before = bench.client.dbsize()
        bench.copy(ended, range(100_000))
        assert bench.client.dbsize() >= before + 300_000
        assert (await bench.store.session(SessionKey("ann", "copy-77"))).last_id == ended.stream_id
    else:
        for number in range(100_000):
            await answered(bench.store, SessionKey("ann", f"older-{number}"))
    compare(bench, few, await costs_of(bench))


@pytest.mark.long
async def test_no_listing_of_the_outbox_reads_more_because_thousands_are_owed(
    own_redis: Callable[..., RedisServer],
) -> None:
    """Commands, and what they answer: enough are owed at first to fill what a step reads of each part of the index."""
    bench = RedisBench(own_redis())
    await bench.store.start()
    try:
        owing = await begin(bench.store, sibling(KEY))
        await seal(bench.store, owing)
        await bench.store.enqueue(owing, due_seconds=60.0)
        await bench.store.close(closing(owing, owed=b"{}"))
        steps = outbox_listings(bench.store, owing)
        steps["sweep: outbox"] = lambda: bench.store.claim_due(limit=10, claim_seconds=0.001)
        costs = []
        for owed in (4_000, 12_000):
            fill_outbox(bench.client, owing, owed)
            costs.append({name: (await bench.cost(step), await bench.sent(step)) for name, step in steps.items()})
        few, many = costs
        grown = {
            name: (few[name], many[name])
            for name in steps
            if many[name][0] > few[name][0] + bench.slack or many[name][1] > few[name][1] * 1.1 + 200
        }
        assert grown == {}
        place, found = None, 0
        while True:
            page = await bench.store.outbox_page(dead=True, limit=1_000, after=place)
            found, place = found + len(page.entries), page.next
            if place is None:
                break
        assert found == 6_000
    finally:
        await bench.store.aclose()


def backlog_steps(store: StreamStore, *, owing: StreamRef, late: StreamRef) -> dict[str, Step]:
    """What workers and operators ask of what is owed, and of the leases."""
    return {
        **outbox_listings(store, owing),
        "an entry, by its id alone": lambda: store.outbox_entry(owing.stream_id),
        "sweep: outbox": lambda: store.claim_due(limit=10, claim_seconds=600.0),
        "sweep: orphans": lambda: store.expired_leases(limit=10),
        "ps": lambda: store.active_streams(limit=10),
        "try again": lambda: store.retry_later(owing, due_seconds=9.0, reason="no", ttl_seconds=600.0),
        "heartbeat": lambda: store.heartbeat([(late, epoch_of(late))], lease_seconds=-1.0, ttl_seconds=60.0),
    }


@pytest.mark.long
async def test_no_step_in_memory_costs_more_because_thousands_are_owed_and_run() -> None:
    """In memory: at first enough are owed, and run, to fill what each step gives."""
    bench, costs = MemoryBench(), list[dict[str, int]]()
    store = bench.store
    for number in (40, 4_000):
        for _ in range(number):
            refs = [await begin(store), await begin(store), await begin(store, lease=-1.0)]
            for ref in refs[:2]:
                await seal(store, ref)
                await store.enqueue(ref, due_seconds=-1.0)
                await store.close(closing(ref, owed=b"{}"))
            await store.dead_letter(refs[1], reason="no", ttl_seconds=600.0)
        steps = backlog_steps(store, owing=refs[0], late=refs[2])
        costs.append({name: await bench.cost(step) for name, step in steps.items()})
    compare(bench, *costs)


LISTING_ROLES: Final = (Inspection, Outbox, ViewerReports, WorkerReports, WorkSharing)


def test_every_listing_of_the_contract_is_counted() -> None:
    """A new step of these roles that answers with many of something has to be counted here."""
    source = inspect.getsource(costs_of) + inspect.getsource(outbox_listings)
    many = re.compile(r"list\[|Mapping\[|Page|Depths")
    steps = [
        name
        for role in LISTING_ROLES
        for name, step in vars(role).items()
        if not name.startswith("_") and many.search(str(inspect.signature(step).return_annotation))
    ]
    assert {"active_streams", "claim_due", "depths", "expired_leases", "outbox_page", "viewer_counts"} <= set(steps)
    assert [name for name in steps if f"store.{name}" not in source] == []


@pytest.mark.long
async def test_an_event_costs_as_much_whatever_else_runs(own_redis: Callable[..., RedisServer]) -> None:
    """Commands and keys, for each of the streams that have an event in the same commit."""
    bench = RedisBench(own_redis())
    await bench.store.start()
    costs = {}
    for streams in (10, 1_000):
        refs = [await begin(bench.store) for _ in range(streams)]
        said = 0

        async def commit(refs: list[StreamRef] = refs) -> None:
            nonlocal said
            said += 1
            appends = [Append(ref, epoch_of(ref), said, data(b"x"), False) for ref in refs]
            assert {reply.status for reply in await bench.store.append(appends)} == {Status.OK}

        await commit()
        keys = bench.client.dbsize()
        costs[streams] = await bench.cost(commit) / streams
        assert bench.client.dbsize() == keys
    assert costs[1_000] <= costs[10]
    await bench.store.aclose()
