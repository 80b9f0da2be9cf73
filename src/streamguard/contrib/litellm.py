"""LiteLLM: streams of `acompletion` and `completion` become UI message parts, stored UI messages become messages.

LiteLLM gives every provider's stream the form of a chat completion, so this is `contrib.openai` with what LiteLLM adds:
the thinking blocks of Anthropic's models, which the next request of a tool loop must have.

Source: `ModelResponseStream` and `Delta` of the Python package `litellm`, 1.84 to 1.110. The library is not
imported: what the adapter reads are its objects. Before 1.109 it gives an answer that its provider broke off the
finish reason `stop`; the adapter sees that and fails.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

from ._model_streams import AsyncSource, Source, broken_off, field_of, items_of, iter_items_of, text_in
from ._ui_messages import Content, Reasoning, read_history
from ._ui_parts import Item, Metadata, Part
from .openai.chat import ChatReader, ChatTurn
from .openai.chat_messages import chat_history

__all__ = ["CompletionTurn", "chat_messages", "completion_parts", "iter_completion_parts"]


class CompletionTurn(ChatTurn):
    """One call of a model in a loop with tools; see `completion_parts`."""


def completion_parts(stream: AsyncSource, turn: CompletionTurn | None = None) -> AsyncIterator[Item]:
    """The UI message parts of one streamed completion, and its usage.

    Closing them closes the stream, and with it the connection to the provider.

    Args:
        stream: what `await litellm.acompletion(stream=True, …)` gives. Usage is told only if
            `stream_options={"include_usage": True}` asks for it.
        turn: for an endpoint that carries out the model's tool calls itself. It has the calls as soon as the parts
            end; while there are some, the answer goes on, and no `finish` part is sent.

    Raises:
        FaultError: the stream was broken off.
        Exception: what the library raises, unchanged.
    """
    return items_of(stream, _CompletionReader(turn))


def iter_completion_parts(stream: Source, turn: CompletionTurn | None = None) -> Iterator[Item]:
    """`completion_parts` for the `stream` of `litellm.completion`, in a plain generator; `turn` as there."""
    return iter_items_of(stream, _CompletionReader(turn))


def chat_messages(ui_messages: Iterable[object]) -> list[dict[str, object]]:
    """The messages to send: `litellm.acompletion(messages=chat_messages(body.messages), …)`.

    As `contrib.openai.chat_messages`; besides, an assistant's message has the thinking blocks whose signatures are
    known, which `completion_parts` keeps. LiteLLM leaves them out for providers that do not take them.

    Args:
        ui_messages: UI messages of AI SDK, or stored messages, oldest first.

    Raises:
        ValueError: something among them is no UI message.
    """
    return chat_history(read_history(ui_messages), _thinking)


class _CompletionReader(ChatReader):
    """Reads the chunks of one completion, with thinking blocks, which come in pieces as the reasoning does."""

    def __init__(self, turn: CompletionTurn | None) -> None:
        super().__init__(turn)
        self._completion = turn
        self._thoughts: list[dict[str, object]] = []
        self._thinking = False
        self._stream: object = None
        self._judges = False
        self._silent = True

    def begin(self, stream: object) -> None:
        # LiteLLM's own judgement came with `is_mock`; it takes an answer without a word for a whole one. A mocked
        # answer, which was a generator before, has no finish reason.
        self._judges = hasattr(stream, "is_mock")
        made = field_of(stream, "completion_stream")
        mocked = bool(field_of(stream, "is_mock")) if self._judges else inspect.isasyncgen(made)
        self._stream = None if mocked or inspect.isgenerator(made) else stream

    def read(self, event: object) -> Iterable[Item]:
        for item in super().read(event):
            self._silent = False
            yield item

    def end(self) -> Iterable[Item]:
        told = ("received_finish_reason", "intermittent_finish_reason")
        if (
            (self._silent or not self._judges)
            and hasattr(self._stream, told[0])
            and not any(field_of(self._stream, name) for name in told)
        ):
            raise broken_off()
        return super().end()

    def reasoning_of(self, delta: object) -> list[Part]:
        out = super().reasoning_of(delta)
        blocks = field_of(delta, "thinking_blocks")
        for block in blocks if isinstance(blocks, list) else ():
            out += self._block(block)
        return out

    def _block(self, block: object) -> list[Part]:
        if text_in(block, "type") == "redacted_thinking":
            data = text_in(block, "data")
            self._keep({"type": "redacted_thinking", "data": data})
            metadata: Metadata = {"anthropic": {"redactedData": data}}
            return [*self.parts.reasoning("", of=data, metadata=metadata), *self.parts.end_span()]
        thought, signature = text_in(block, "thinking"), text_in(block, "signature")
        if not self._thinking:
            self._keep({"type": "thinking", "thinking": ""})
        last = self._thoughts[-1]
        last["thinking"] = f"{last['thinking']}{thought}"
        self._thinking = not signature
        if not signature:
            return []
        last["signature"] = signature
        metadata = {"anthropic": {"signature": signature}}
        begin = [] if last["thinking"] else self.parts.reasoning("", of=signature, metadata=metadata)
        return [*begin, *self.parts.end_span(metadata)]

    def _keep(self, block: dict[str, object]) -> None:
        self._thoughts.append(block)
        if self._completion is not None:
            self._completion.keep("thinking_blocks", self._thoughts)


def _thinking(contents: Sequence[Content]) -> dict[str, object]:
    """The thinking blocks of an assistant's message, from the reasoning that has a signature."""
    blocks: list[dict[str, object]] = []
    for content in contents:
        metadata = content.metadata.get("anthropic") if isinstance(content, Reasoning) else None
        if not isinstance(content, Reasoning) or not isinstance(metadata, Mapping):
            continue
        if isinstance(signature := metadata.get("signature"), str):
            blocks.append({"type": "thinking", "thinking": content.text, "signature": signature})
        elif isinstance(data := metadata.get("redactedData"), str):
            blocks.append({"type": "redacted_thinking", "data": data})
    return {"thinking_blocks": blocks} if blocks else {}
