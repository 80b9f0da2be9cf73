"""Encodes an upstream's stream as whole blocks, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from ...faults import FaultCode
from ..adapters import refusal
from ..base import Encoder, LeftOut, OnLeftOut
from ..server_sent import event_block, is_event
from ..sse import Block, BlockSplitter, encode_text
from ..values import Reason, Replaced
from .block_reader import BlockReader

__all__ = ["Splitter", "UpstreamEncoder"]


class Splitter(Protocol):
    """Cuts bytes into blocks; see `BlockSplitter`."""

    def is_whole(self, chunk: bytes) -> bool:
        """Whether `feed` would return this chunk as its one block, and keep nothing of it."""

    def feed(self, chunk: bytes) -> list[Block]:
        """The blocks that `chunk` completes."""

    def close(self) -> tuple[list[Block], bytes]:
        """The last block and the unfinished rest."""

    def discard(self) -> None:
        """Drop the unfinished block."""


class UpstreamEncoder(Encoder):
    """Turns chunks of a body, cut anywhere, into whole blocks. Holds the first closing part and everything after it.

    What is a closing part, and what the upstream said of its usage and failure, is the reader's to know.
    """

    def __init__(
        self,
        reader: BlockReader,
        *,
        protocol: str,
        max_event_bytes: int,
        on_left_out: OnLeftOut,
    ) -> None:
        self.held: list[bytes] = []
        self._protocol = protocol
        self._reader = reader
        self._held_bytes = 0
        self._max_bytes = max_event_bytes
        self._on_left_out = on_left_out
        self._leave_out: Callable[[], None] = partial(_leave_out, on_left_out)
        """Reports a block that is too large, or one closing block too many. Only the notice stands in its place. No
        method: the splitter has it too, and is to know nothing of this encoder, so that no cycle keeps it in memory."""
        self._splitter = self._new_splitter()
        self._passes: Callable[[bytes], bool] = reader.ignores
        """Hot path: whether a block is logged as it is, and nothing need be known of it."""

    @property
    def usage(self) -> Mapping[str, int]:
        return self._reader.usage

    @property
    def failure(self) -> FaultCode | None:
        return self._reader.failure

    def begin(self) -> Sequence[bytes]:
        return ()

    def lone_payload(self, item: object) -> bytes:
        if type(item) is not bytes:
            if type(item) is not str:
                return b""
            item = encode_text(item)
        # Most hosts and providers send a block at a time.
        return item if not self.held and self._splitter.is_whole(item) and self._passes(item) else b""

    def encode(self, item: object) -> Sequence[bytes]:
        if type(item) is bytes:
            chunk = item
        elif isinstance(item, str):
            chunk = encode_text(item)
        elif isinstance(item, (bytes, bytearray, memoryview)):
            chunk = bytes(item)
        else:
            chunk = self._encode_object(item)
        return self._take(self._splitter.feed(chunk))

    def finish(self) -> Sequence[bytes]:
        blocks, rest = self._splitter.close()
        out = self._take(blocks)
        self._reader.over()
        if rest:
            # Clients drop an unfinished block. It is still passed on, but as a closing part: if the stream does not
            # count as completed after all, an error block after it would become part of it.
            self._hold(self._marked(rest))
        return out

    def abandon(self) -> Sequence[bytes]:
        self._splitter.discard()
        return ()

    def _new_splitter(self) -> Splitter:
        return BlockSplitter(max_block_bytes=self._max_bytes, on_left_out=self._leave_out)

    def _encode_object(self, item: object) -> bytes:
        """The bytes of an item that is neither text nor bytes.

        Raises:
            InvalidPartError: the protocol has no such item.
        """
        if is_event(item):
            chunk, replaced = event_block(item)
            if replaced:
                self._on_left_out(LeftOut("event", replaced))
            return chunk
        article = "an" if self._protocol[0] in "aeiou" else "a"
        raise refusal(
            item,
            self._protocol,
            f"{article} {self._protocol} endpoint yields SSE text as bytes or str, or events (ServerSentEvent, or a "
            "dict of data, event, id, retry)",
        )

    def _take(self, blocks: Sequence[Block]) -> Sequence[bytes]:
        out: list[bytes] = []
        tell = self.on_tool
        for block in blocks:
            if tell is not None:
                for news in self._reader.tools(block):
                    tell(news)
            closes = self._reader.closes(block)  # also after the first: usage and errors follow closing parts
            if self.held or closes:
                self._hold(self._payload(block))
            else:
                out.append(self._payload(block))
        return out

    def _payload(self, block: Block) -> bytes:
        """What is logged for a block."""
        return self._marked(block.raw)

    def _marked(self, raw: bytes) -> bytes:
        """What is logged for these bytes of the upstream."""
        return raw

    def _hold(self, payload: bytes) -> None:
        if self._held_bytes + len(payload) > self._max_bytes:
            self._leave_out()
            return
        self._held_bytes += len(payload)
        self.held.append(payload)


def _leave_out(tell: OnLeftOut) -> None:
    tell(LeftOut("block", [Replaced(Reason.TOO_LARGE, "block")]))
