"""A worker's way to a message store that others use too: it counts what passes, and can be cut, held or made to lie."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from streamguard.errors import MessageUnavailableError
from streamguard.messages import Appended, MemoryMessageStore, Message, MessageStore, StoredMessage
from streamguard.runtime import Bindings, LiveStream
from streamguard.stores.records import StreamMeta
from streamguard.stores.store import StreamStore
from streamguard.testing._passing import PassingMessageStore
from streamguard.values import SessionKey, StreamRef
from streamguard.wire import protocol_named

from ..harness.waiting import wait_until_async
from .gates import Gated
from .stage import KEY, Reading, log_of, payloads

__all__ = ["Messages", "data_parts", "eventually", "folded", "meta_of", "saving_to", "stored_in"]

T = TypeVar("T")


class Messages(Gated, PassingMessageStore):
    """Passes every step on to `inner`, a real store, unless told otherwise."""

    def __init__(self, inner: MessageStore | None = None) -> None:
        Gated.__init__(self)
        PassingMessageStore.__init__(self, inner or MemoryMessageStore())
        self.calls: Counter[str] = Counter()
        self.down = False
        """Nothing passes."""
        self.failures: Counter[str] = Counter()
        """Per operation, how many more times it fails without being carried out."""
        self.lost: Counter[str] = Counter()
        """Per operation, how many more times it is carried out but its reply is lost."""
        self.errors: dict[str, BaseException] = {}
        """Per operation, what each call raises instead of being carried out."""
        self.at_once = 0
        """How many calls are under way."""
        self.most_at_once = 0
        self.appended: list[Message] = []
        """What `append` was given, in order, failed or not."""
        self.started = self.closed = 0

    async def _pass(self, operation: str, step: Callable[[], Awaitable[T]]) -> T:
        self.calls[operation] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._at_gate(operation)
            if operation in self.errors:
                raise self.errors[operation]
            if self.down or self.failures[operation] > 0:
                self.failures[operation] -= 1
                raise MessageUnavailableError(f"{operation}: the line is cut", operation=operation)
            result = await step()
            await self._at_gate(operation, after=True)
            if self.lost[operation] > 0:
                self.lost[operation] -= 1
                raise MessageUnavailableError(f"{operation}: the reply was lost", operation=operation)
            return result
        finally:
            self.at_once -= 1

    async def start(self) -> list[str]:
        self.started += 1
        return []

    async def aclose(self) -> None:
        self.closed += 1

    async def append(self, key: SessionKey, message: Message) -> Appended:
        self.appended.append(message)
        return await super().append(key, message)


async def stored_in(messages: MessageStore, key: SessionKey = KEY) -> Sequence[StoredMessage]:
    """Everything of a session."""
    inner = messages.inner if isinstance(messages, Messages) else messages
    return await inner.list(key, limit=1000)


async def eventually(predicate: Callable[[], Awaitable[bool]], description: str) -> None:
    """Wait until an async question is answered yes."""

    def asked() -> Awaitable[bool] | bool:
        return predicate()

    await wait_until_async(asked, description=description)


def saving_to(messages: MessageStore, *names: str) -> Bindings:
    """Bindings of these names (`chat`), all of which save to `messages`."""
    bindings = Bindings(messages)
    for name in names or ("chat",):
        bindings.register(name)
    return bindings


async def meta_of(store: StreamStore, ref: StreamRef) -> StreamMeta:
    """The record of a stream that has one."""
    meta = await store.meta(ref)
    assert meta is not None
    return meta


async def folded(store: StreamStore, stream: LiveStream) -> tuple[object, ...]:
    """The parts that the stream's log folds to."""
    meta = await meta_of(store, stream.ref)
    assert meta.seal is not None
    log = [entry for entry in await log_of(store, stream.ref) if entry[0] <= meta.seal.last_seq]
    folding = protocol_named(meta.protocol).folding(meta.message_id)
    for payload in [*payloads(log), *meta.seal.held]:
        folding.add(payload)
    return folding.message().parts


def data_parts(reading: Reading, kind: str) -> list[dict[str, object]]:
    """The parts of a type that a client of the ui-message protocol was sent."""
    parts = [json.loads(event.data) for event in reading.events if event.data.startswith("{")]
    return [part for part in parts if part["type"] == kind]
