"""A model's provider that follows a script: OpenAI's chat completions and Responses, and Anthropic's messages.

It is served by a real uvicorn in a thread. The last thing that the user said names the script; anything else gets a
short answer. A request whose history goes on after that with results of tools gets the second answer of a script.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ..harness.waiting import wait_until

__all__ = ["SECRET", "THOUGHT", "Upstream", "provider"]

Json: TypeAlias = dict[str, object]

CLOSING: Final = {"connection": "close"}
"""Clients keep no connection beyond their own loop."""

SECRET: Final = "words only the provider says"
THOUGHT: Final = "Two cities."
CALLS: Final[list[tuple[str, Json]]] = [("call_paris", {"city": "Paris"}), ("call_atlantis", {"city": "Atlantis"})]


class Upstream:
    """The provider; its address, and what it saw."""

    def __init__(self) -> None:
        self.url = ""
        """Without a path."""
        self.requests: list[Json] = []
        """The bodies of all requests."""
        self.dropped = threading.Event()
        """Set when a client left in the middle of an answer."""

    def take(self) -> list[Json]:
        """The requests since the last time."""
        taken, self.requests = self.requests, []
        self.dropped.clear()
        return taken

    async def answer(self, request: Request) -> Response:
        body: Json = await request.json()
        self.requests.append(body)
        script, answered = said_in(body)
        if script == "!limited":
            headers = {"retry-after": "7", "x-should-retry": "false", **CLOSING}
            error = {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": SECRET}
            return JSONResponse({"type": "error", "error": error}, 429, headers)
        api = request.url.path.rsplit("/", 1)[-1]
        events = EVENTS[api](script, answered)
        if body.get("stream") is not True:
            return JSONResponse({"error": {"message": "not scripted"}}, 400)
        return StreamingResponse(
            self._body(request, api, script, events), headers=CLOSING, media_type="text/event-stream"
        )

    async def _body(self, request: Request, api: str, script: str, events: Iterator[Json]) -> AsyncIterator[bytes]:
        try:
            for event in events:
                name = f"event: {event['type']}\n" if api != "completions" else ""
                yield f"{name}data: {json.dumps(event)}\n\n".encode()
                await asyncio.sleep(0)
            while script == "!hold" and (await request.receive())["type"] != "http.disconnect":
                pass
        finally:  # whoever sees the disconnect first: the response may cancel its body
            if script == "!hold":
                self.dropped.set()
        if script == "!reset":
            raise ConnectionError(SECRET)
        if api == "completions" and script != "!cut":
            yield b"data: [DONE]\n\n"


def said_in(body: Mapping[str, object]) -> tuple[str, bool]:
    """The last text of the user, and whether results of tools follow it."""
    found, answered = "", False
    history = body.get("messages", body.get("input"))
    for message in history if isinstance(history, list) else [{"role": "user", "content": history}]:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        texts = [part["text"] for part in parts if part.get("type") in ("text", "input_text")]
        results = [part for part in parts if part.get("type") == "tool_result"]
        said = str(texts[-1]) if texts else ""
        if message.get("role") == "tool" or message.get("type") == "function_call_output" or results:
            answered = True
        elif message.get("role") == "user" and said:
            found, answered = said, False
    return found, answered


def _pieces(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def _plot(script: str, answered: bool) -> tuple[str, str, list[tuple[str, Json]], tuple[int, int]]:
    """Thought, text, calls and usage of an answer."""
    if answered:
        return "", "It is sunny in Paris.", [], (40, 6)
    if script == "!tools":
        return THOUGHT, "Let me look.", CALLS, (20, 8)
    if script in ("!reset", "!cut", "!error", "!hold"):
        return "", "Well, ", [("call_held", {"city": "Nowhere"})] if script == "!hold" else [], (20, 8)
    return "", "Hello there.", [], (10, 3)


def chat_events(script: str, answered: bool) -> Iterator[Json]:
    thought, text, calls, (inputs, outputs) = _plot(script, answered)

    def chunk(delta: Json, finish: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**head, "choices": [choice]}

    head: Json = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(thought) if thought else ():
        yield chunk({"reasoning_content": piece})
    for piece in _pieces(text):
        yield chunk({"content": piece})
    for index, (call_id, arguments) in enumerate(calls):
        begun = {"index": index, "id": call_id, "type": "function", "function": {"name": "weather", "arguments": ""}}
        yield chunk({"tool_calls": [begun]})
        for piece in _pieces(json.dumps(arguments))[: 1 if script == "!hold" else 2]:
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    if script == "!error":
        yield {"error": {"message": SECRET, "type": "server_error", "code": "server_error"}}
    if script in ("!reset", "!cut", "!error", "!hold"):
        return
    yield chunk({}, "tool_calls" if calls else "stop")
    usage: Json = {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs}
    usage["completion_tokens_details"] = {"reasoning_tokens": 2 if thought else 0}
    yield {**head, "choices": [], "usage": usage}


def responses_events(script: str, answered: bool) -> Iterator[Json]:
    numbered = enumerate(_responses_events(script, answered))
    for number, event in numbered:
        yield {**event, "sequence_number": number}


def _responses_events(script: str, answered: bool) -> Iterator[Json]:
    thought, text, calls, (inputs, outputs) = _plot(script, answered)
    response: Json = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": []}
    response |= {"status": "in_progress", "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    yield {"type": "response.created", "response": response}
    output: list[Json] = []
    if thought:
        reasoning: Json = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None}
        at: Json = {"output_index": 0, "item_id": "rs_1", "summary_index": 0}
        yield {"type": "response.output_item.added", "output_index": 0, "item": reasoning}
        part: Json = {"type": "summary_text", "text": ""}
        yield {"type": "response.reasoning_summary_part.added", **at, "part": part}
        for piece in _pieces(thought):
            yield {"type": "response.reasoning_summary_text.delta", **at, "delta": piece}
        summary: list[object] = [{"type": "summary_text", "text": thought}]
        output.append({**reasoning, "summary": summary, "encrypted_content": "sealed"})
        yield {"type": "response.output_item.done", "output_index": 0, "item": output[-1]}
    index = len(output)
    message: Json = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
    at = {"output_index": index, "item_id": "msg_1", "content_index": 0}
    yield {"type": "response.output_item.added", "output_index": index, "item": message}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield {"type": "response.content_part.added", **at, "part": part}
    for piece in _pieces(text):
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
    if script == "!error":
        yield {"type": "error", "code": "server_error", "message": SECRET, "param": None}
    if script in ("!reset", "!cut", "!error"):
        return
    yield {"type": "response.output_text.done", **at, "text": text, "logprobs": []}
    content: list[object] = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    output.append({**message, "status": "completed", "content": content})
    yield {"type": "response.output_item.done", "output_index": index, "item": output[-1]}
    for number, (call_id, given) in enumerate(calls):
        index = len(output)
        arguments = json.dumps(given)
        item: Json = {"type": "function_call", "id": f"fc_{number}", "call_id": call_id, "name": "weather"}
        at = {"output_index": index, "item_id": f"fc_{number}"}
        added = {**item, "arguments": "", "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": index, "item": added}
        for piece in _pieces(arguments)[: 1 if script == "!hold" else 2]:
            yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
        if script == "!hold":
            return
        yield {"type": "response.function_call_arguments.done", **at, "arguments": arguments, "name": "weather"}
        output.append({**item, "arguments": arguments, "status": "completed"})
        yield {"type": "response.output_item.done", "output_index": index, "item": output[-1]}
    usage: Json = {"input_tokens": inputs, "output_tokens": outputs, "total_tokens": inputs + outputs}
    usage["input_tokens_details"] = {"cached_tokens": 0}
    usage["output_tokens_details"] = {"reasoning_tokens": 2 if thought else 0}
    yield {
        "type": "response.completed",
        "response": {**response, "status": "completed", "output": output, "usage": usage},
    }


def message_events(script: str, answered: bool) -> Iterator[Json]:
    thought, text, calls, (inputs, outputs) = _plot(script, answered)
    usage: Json = {"input_tokens": inputs, "output_tokens": 1}
    message: Json = {"id": "msg_up", "type": "message", "role": "assistant", "content": [], "model": "m"}
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}}
    yield {"type": "ping"}
    index = 0

    def start(block: Json) -> Json:
        return {"type": "content_block_start", "index": index, "content_block": block}

    def delta(**fields: object) -> Json:
        return {"type": "content_block_delta", "index": index, "delta": fields}

    if thought:
        yield start({"type": "thinking", "thinking": "", "signature": ""})
        for piece in _pieces(thought):
            yield delta(type="thinking_delta", thinking=piece)
        yield delta(type="signature_delta", signature="signed")
        yield {"type": "content_block_stop", "index": index}
        index += 1
    yield start({"type": "text", "text": ""})
    for piece in _pieces(text):
        yield delta(type="text_delta", text=piece)
    if script == "!error":
        yield {"type": "error", "error": {"type": "overloaded_error", "message": SECRET}}
    if script in ("!reset", "!cut", "!error"):
        return
    yield {"type": "content_block_stop", "index": index}
    for call_id, arguments in calls:
        index += 1
        yield start({"type": "tool_use", "id": call_id, "name": "weather", "input": {}})
        for piece in _pieces(json.dumps(arguments))[: 1 if script == "!hold" else 2]:
            yield delta(type="input_json_delta", partial_json=piece)
        if script == "!hold":
            return
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": outputs}}
    yield {"type": "message_stop"}


EVENTS: Final[Mapping[str, Callable[[str, bool], Iterator[Json]]]] = {
    "completions": chat_events,
    "responses": responses_events,
    "messages": message_events,
}


@contextmanager
def provider() -> Iterator[Upstream]:
    """Serve it while entered."""
    upstream = Upstream()
    paths = ("/v1/chat/completions", "/v1/responses", "/v1/messages")
    app = Starlette(routes=[Route(path, upstream.answer, methods=["POST"]) for path in paths])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="scripted-provider")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), description="the provider listens")
        upstream.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield upstream
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the provider did not end"
