"""Any sequence of parts folds to the same message: live, from the log, or in pieces."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from streamguard.errors import InvalidPartError
from streamguard.stores.memory import MemoryStore
from streamguard.testing._stream_store.steps import begin
from streamguard.values import EventKind
from streamguard.wire import MessageFold, UIMessage, UIMessageProtocol, fold, protocol_named

from .logs import logged, read_back

Part = dict[str, object]

ids = st.sampled_from(["a", "b", "ключ"])
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(
    ["é", "👩‍👩‍👧", "\r\n", "\u2028"]
)
torn = st.text(st.characters(), max_size=4) | st.sampled_from(["\ud83c", "\udf0a"])
"""Text with halves of surrogate pairs."""
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(words, values, max_size=3)
provider: st.SearchStrategy[Part] = st.fixed_dictionaries({}, optional={"providerMetadata": st.just({"p": {"x": 1}})})


def part(
    kind: str, more: st.SearchStrategy[Part] | None = None, **fields: st.SearchStrategy[object]
) -> st.SearchStrategy[Part]:
    base = st.fixed_dictionaries({"type": st.just(kind), **fields})
    return base if more is None else st.builds(lambda one, two: {**one, **two}, base, more)


spans = st.one_of(
    *(
        one
        for what in ("text", "reasoning")
        for one in (
            part(f"{what}-start", provider, id=ids),
            part(f"{what}-delta", provider, id=ids, delta=torn),
            part(f"{what}-end", provider, id=ids),
        )
    )
)
flags: st.SearchStrategy[Part] = st.fixed_dictionaries(
    {}, optional={"dynamic": st.just(True), "providerExecuted": st.just(True), "title": words}
)
tools = st.one_of(
    part("tool-input-start", flags, toolCallId=ids, toolName=st.sampled_from(["n", "m"])),
    part("tool-input-delta", toolCallId=ids, inputTextDelta=st.sampled_from(['{"a":', "[1,", '"é', '"}', "?", " "])),
    part("tool-input-available", flags, toolCallId=ids, toolName=st.sampled_from(["n", "m"]), input=values),
    part("tool-input-error", flags, toolCallId=ids, toolName=st.just("n"), input=values, errorText=words),
    part("tool-output-available", provider, toolCallId=ids, output=values),
    part("tool-output-available", toolCallId=ids, output=values, preliminary=st.just(True)),
    part("tool-output-error", toolCallId=ids, errorText=words),
    part("tool-output-denied", toolCallId=ids),
    part("tool-approval-request", toolCallId=ids, approvalId=ids),
    part("tool-approval-response", approvalId=ids, approved=st.booleans()),
)
others = st.one_of(
    part("source-url", provider, sourceId=ids, url=st.just("https://example.com/")),
    part("source-document", sourceId=ids, mediaType=st.just("text/plain"), title=words),
    part("file", provider, url=st.just("data:,x"), mediaType=st.just("text/plain")),
    part("data-x", id=ids, data=values),
    part("data-x", data=values),
    part("data-y", id=ids, data=values, transient=st.just(True)),
    part("message-metadata", messageMetadata=objects),
    part("start", messageMetadata=objects),
    part("start-step"),
    part("finish-step"),
    part("reset-step"),
)
closings = part("finish") | part("finish", messageMetadata=objects) | part("abort") | part("error", errorText=words)
items = torn | spans | tools | others
replies = st.builds(lambda said, last: [*said, *last], st.lists(items, max_size=25), st.lists(closings, max_size=2))


def payloads_of(reply: Sequence[object], *, died: bool) -> list[bytes]:
    """What is logged of a reply; of one whose writer `died`, without its end."""
    encoder = UIMessageProtocol().encoder(message_id="msg_1", max_event_bytes=1 << 20)
    out = [*encoder.begin()]
    for item in reply:
        try:
            out += encoder.encode(item)
        except InvalidPartError:
            continue  # what a client would refuse ends a reply before it is logged
    return out if died else [*out, *encoder.finish(), *encoder.held]


def folded(payloads: Sequence[bytes], previous: UIMessage | None = None) -> UIMessage:
    """The fold, after a trip through storage."""
    return UIMessage.from_dict(json.loads(json.dumps(fold("msg_1", payloads, previous).as_dict())))


def says_something(message: UIMessage) -> bool:
    """Whether a text or reasoning part is open: only its own fold can go on with it."""
    return any(one["type"] in ("text", "reasoning") and one.get("state") == "streaming" for one in message.parts)


async def from_the_log(payloads: list[bytes], max_bytes: list[int]) -> list[bytes]:
    store = MemoryStore()
    ref = await begin(store)
    await logged(store, ref, [(EventKind.DATA, payload) for payload in payloads], pieces=random.Random(len(payloads)))
    return [event.data for event in await read_back(store, ref, len(payloads), max_bytes=max_bytes)]


@settings(deadline=None)  # a busy machine
@given(replies, st.booleans(), st.lists(st.integers(1, 300), min_size=1, max_size=3))
def test_live_from_the_log_and_in_pieces(reply: list[object], died: bool, max_bytes: list[int]) -> None:
    """A piece may end anywhere but within a text: that is where streams end, and replies are saved."""
    payloads = payloads_of(reply, died=died)
    live = MessageFold("msg_1")
    seen: list[UIMessage] = []
    for payload in payloads:
        live.add(payload)
        seen.append(live.message())
    message = UIMessage.from_dict(json.loads(json.dumps(live.message().as_dict())))
    assert folded(asyncio.run(from_the_log(payloads, max_bytes))) == message
    for at, prefix in enumerate(seen, start=1):
        if not says_something(prefix):
            assert folded(payloads[at:], folded(payloads[:at])) == message, f"cut at {at}"


@settings(deadline=None)
@given(st.lists(st.tuples(replies, st.booleans()), min_size=2, max_size=3))
def test_a_continued_message(streams: list[tuple[list[object], bool]]) -> None:
    """Stream by stream, through storage in between, or all logs as one; also after a writer that died."""
    logs = [payloads_of(reply, died=died) for reply, died in streams]
    message: UIMessage | None = None
    for payloads in logs:
        message = folded(payloads, message)
    assert message == folded([payload for payloads in logs for payload in payloads])


texts = st.lists(torn, max_size=8)


@given(st.lists(texts, min_size=1, max_size=3), st.sampled_from(["plain", "opaque"]))
def test_text_protocols(streams: list[list[str]], name: str) -> None:
    """The same however the log is read; and each stream of a continued message is a part of its own."""
    protocol = protocol_named(name)
    message: UIMessage | None = None
    for pieces in streams:
        encoder = protocol.encoder(message_id="msg_1", max_event_bytes=1 << 20)
        payloads = [payload for piece in pieces for payload in encoder.encode(piece)]
        payloads += [*encoder.finish(), *encoder.held]
        folding = protocol.folding("msg_1", message)
        for payload in payloads:
            folding.add(payload)
            folding.message()
        whole = protocol.folding("msg_1", message)
        for payload in payloads:
            whole.add(payload)
        assert folding.message() == whole.message()
        before = () if message is None else message.parts
        message = UIMessage.from_dict(json.loads(json.dumps(whole.message().as_dict())))
        assert message.parts[: len(before)] == before
        assert len(message.parts) == len(before) + (1 if b"".join(payloads) else 0)
