"""A stand-in for a provider: answers OpenAI's chat completions with what the scripted model says, as a transport of
httpx. Nothing goes over a network, but all else is as with a provider: the pieces come one by one, and break off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import model as scripted


class ScriptedUpstream(httpx.AsyncBaseTransport):
    """The provider, whatever the address. The last message is the prompt."""

    def __init__(self, *, gap_seconds: float) -> None:
        self._gap_seconds = gap_seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = json.loads(await request.aread())
        prompt = _text(asked["messages"][-1].get("content"))
        if asked.get("stream"):
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Body(self._events(asked)))
        pieces = [piece async for piece in scripted.answer(prompt, gap_seconds=0)]
        message = {"role": "assistant", "content": "".join(pieces)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        whole = _object(asked, "chat.completion", choices=[choice], usage=_usage(prompt, len(pieces)))
        return httpx.Response(200, json=whole)

    async def _events(self, asked: Mapping[str, Any]) -> AsyncIterator[bytes]:
        prompt = _text(asked["messages"][-1].get("content"))
        yield _chunk(asked, {"role": "assistant", "content": ""})
        pieces = 0
        async for piece in scripted.answer(prompt, gap_seconds=self._gap_seconds):
            pieces += 1
            yield _chunk(asked, {"content": piece})
        yield _chunk(asked, {}, finish_reason="stop")
        if (asked.get("stream_options") or {}).get("include_usage"):
            yield _event(_object(asked, "chat.completion.chunk", choices=[], usage=_usage(prompt, pieces)))
        yield b"data: [DONE]\n\n"


class _Body(httpx.AsyncByteStream):
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except scripted.ModelBrokeError as exc:
            raise httpx.ReadError("the upstream broke off") from exc


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def _object(asked: Mapping[str, Any], kind: str, **fields: object) -> dict[str, object]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 1, "model": asked.get("model", "scripted"), **fields}


def _usage(prompt: str, pieces: int) -> dict[str, int]:
    asked = scripted.tokens_in(prompt)
    return {"prompt_tokens": asked, "completion_tokens": pieces, "total_tokens": asked + pieces}


def _chunk(asked: Mapping[str, Any], delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _event(_object(asked, "chat.completion.chunk", choices=[choice]))


def _event(document: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"
