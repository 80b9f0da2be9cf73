"""Any sequence of steps has the same answers on the memory store, which is the specification, and on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamguard.errors import MessageStoreError
from streamguard.messages import MemoryMessageStore, Message, MessageStatus, MessageStore, RedisMessageStore, Role
from streamguard.stores import RedisClient
from streamguard.testing._message_store.steps import all_branches, everything, facts, fresh_key, text_part
from streamguard.values import Outcome, SessionKey

Step = tuple[str, int, object]
"""A method's name, which of two sessions, and an argument."""


@dataclass(frozen=True)
class Superseding:
    """The stream that asks, the first message to go, the one before it, and a message that comes with it."""

    by: str
    start: str | None
    after: str | None
    message: Message | None


def message(
    message_id: str,
    stream_id: str | None,
    continues: str | None,
    text: str,
    outcome: Outcome,
    replies_to: str | None = None,
    branch: int | None = None,
) -> Message:
    return Message(
        message_id,
        Role.USER if stream_id is None else Role.ASSISTANT,
        (text_part(text),),
        stream_id=stream_id,
        continues=continues,
        outcome=None if stream_id is None else outcome,
        replies_to=replies_to,
        branch=branch,
    )


sessions = st.sampled_from([0, 0, 0, 1])
streams = st.sampled_from(["a", "b", "c", ""])
texts = st.sampled_from(["one", "one", "one", "two"])
outcomes = st.sampled_from([Outcome.COMPLETED, Outcome.COMPLETED, Outcome.FAILED])
messages = (
    st.builds(message, st.just("m"), streams, streams, texts, outcomes)
    | st.builds(message, st.just("m"), streams, st.none() | streams, texts, outcomes)
    | st.builds(message, st.sampled_from("mno"), st.none() | streams, st.none(), texts, outcomes)
    | st.builds(
        message, st.sampled_from(["n", "x" * 257]), streams, st.none(), st.sampled_from(["\0🌍", "\ud800"]), outcomes
    )
)
some_ids = st.sampled_from(["m", "n", "o", "x", None])
branches = st.none() | st.integers(0, 3)
placed_messages = st.builds(
    message,
    st.sampled_from("mnox"),
    st.none() | streams,
    st.none() | st.none() | streams,
    texts,
    outcomes,
    st.none() | st.sampled_from("mnox"),
    branches,
)
supersedings = st.tuples(
    st.just("supersede"),
    sessions,
    st.builds(Superseding, st.sampled_from("abcd"), some_ids, some_ids, st.none() | placed_messages),
)
appends = st.tuples(st.just("append"), sessions, messages | placed_messages)
others = st.one_of(
    st.tuples(st.just("open_session"), sessions, st.none()),
    st.tuples(st.just("delete_session"), st.just(1), st.none()),
    st.tuples(st.just("list"), sessions, st.integers(-1, 3)),
    st.tuples(st.just("last"), sessions, st.none()),
    st.tuples(st.just("get"), sessions, st.sampled_from("mnx")),
    st.tuples(st.just("get_any"), sessions, st.sampled_from("mnox")),
    st.tuples(st.just("mark"), sessions, st.sampled_from("mnx")),
)
steps = st.sampled_from([appends, appends, appends, supersedings, others]).flatmap(lambda kind: kind)


async def said(store: MessageStore, key: SessionKey, step: Step) -> object:
    """What a store answers, in a form that two can be compared by: their clocks differ."""
    name, _, argument = step
    match name, argument:
        case "append", Message():
            return await store.append(key, argument)
        case "supersede", Superseding(by, start, after, added):
            return await store.supersede(key, by=by, start=start, after=after, message=added)
        case "last", _:
            last = await store.last(key)
            return None if last is None else facts(last.message)
        case "list", int():
            return [facts(stored.message) for stored in await store.list(key, after=argument, limit=2)]
        case "get", str():
            return facts((await store.get(key, argument)).message)
        case "get_any", str():
            stored = await store.get(key, argument, branches=True)
            return facts(stored.message), stored.position
        case "mark", str():
            await store.mark(key, argument, MessageStatus.UNANSWERED)
            return None
        case _:
            call: Callable[[SessionKey], Awaitable[object]] = getattr(store, name)
            return await call(key)


async def answer(store: MessageStore, key: SessionKey, step: Step) -> tuple[object, ...]:
    """What a store says to a step, and what it holds afterwards."""
    try:
        reply = await said(store, key, step)
    except MessageStoreError as exc:
        reply = (type(exc), str(exc))
    held = [
        (
            facts(stored.message),
            stored.message.continues,
            stored.position,
            stored.status,
            stored.streams,
            stored.message.branch,
            stored.superseded,
        )
        for stored in await all_branches(store, key)
    ]
    visible = [facts(stored.message) for stored in await everything(store, key)]
    return reply, held, visible


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=20, max_size=50))
def test_memory_and_redis_answer_alike(redis_url: str, sequence: list[Step]) -> None:
    async def run() -> None:
        async with RedisClient(redis_url, command_seconds=30) as client:
            stores = (MemoryMessageStore(), RedisMessageStore(client, ttl_seconds=60))
            keys = (fresh_key(), fresh_key())
            for store in stores:
                await store.open_session(keys[0])
            for step in sequence:
                expected, found = [await answer(store, keys[step[1]], step) for store in stores]
                assert found == expected, step

    asyncio.run(run())
