"""Starlette's own wrappers around `send`, which a response's body need not go through.

Starlette wraps `send` three times, only to note that the response has started: from then on these wrappers pass on
every message as it is. Each costs a coroutine for each event; measured with one event a chunk, all three take about
a tenth of what an event costs the server. So once the response has started, its body's messages go to what is inside
of them. A wrapper of anybody else's gets all messages, and so does what it wraps.

`CORSMiddleware` adds headers to the start, and passes on every other message as it is.
"""

from __future__ import annotations

from functools import lru_cache, partial
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, cast

from starlette.middleware import cors
from starlette.types import Message, Send

__all__ = ["inside_passing"]


def _wrapper(send: Send) -> Send:
    """A wrapper as Starlette's are, to compare with: see `starlette._exception_handler` and
    `starlette.middleware.errors`."""
    response_started = False

    async def passing(message: Message) -> None:
        nonlocal response_started

        if message["type"] == "http.response.start":
            response_started = True
        await send(message)

    return passing


def inside_passing(send: Send) -> Send:
    """What `send` passes on the messages of a response that has started, as far as its wrappers do nothing else."""
    while True:
        if type(send) is FunctionType and (at := _inner_cell(send.__code__, send.__module__)) is not None:
            send = (send.__closure__ or ())[at].cell_contents
        elif type(send) is partial and _is_of_cors(send):
            send = send.keywords["send"]
        else:
            return send


def _is_of_cors(send: partial[Any]) -> bool:
    """Whether it is what `CORSMiddleware` gives an application to send with, and a body's messages pass through it."""
    method = send.func
    return (
        type(method) is MethodType
        and type(method.__func__) is FunctionType
        and send.keywords.keys() == {"send", "request_headers"}
        and not send.args
        and _passes_bodies(method.__func__)
    )


@lru_cache(maxsize=64)
def _passes_bodies(method: FunctionType) -> bool:
    """Whether a method is Starlette's `CORSMiddleware.send`, and gives the messages of a body to what it wraps as they
    are, without a look at its object or at the request: it is called to see that."""
    if method.__globals__ is not vars(cors) or method.__code__.co_name != "send":
        return False  # also where a tool put its own around Starlette's
    for more_body in (True, False):
        message: Message = {"type": "http.response.body", "body": b"", "more_body": more_body}
        given, sent = {**message}, list[Message]()
        try:
            method(object(), given, send=_collecting(sent), request_headers=object()).send(None)
        except StopIteration:
            if given != message or len(sent) != 1 or sent[0] is not given:
                return False
        except Exception:  # noqa: BLE001 -- it does more than that
            return False
        else:
            return False
    return True


def _collecting(sent: list[Message]) -> Send:
    async def collect(message: Message) -> None:
        sent.append(message)

    return collect


@lru_cache(maxsize=64)
def _inner_cell(code: CodeType, module: str) -> int | None:
    """Which cell of a wrapper's closure has what it passes on to; None unless the wrapper is Starlette's, and its code
    that of `_wrapper`, whatever its name is."""
    is_starlettes = str(module).partition(".")[0] == "starlette"
    return code.co_freevars.index("send") if is_starlettes and _does(code) == _PASSES_ON else None


def _does(code: CodeType) -> tuple[object, ...]:
    """All that decides what a function does, compiled by this Python."""
    return (code.co_code, code.co_consts, code.co_names, code.co_varnames, code.co_freevars, code.co_flags)


def _code_of(wrapper: object) -> CodeType:
    return cast("FunctionType", wrapper).__code__


async def _nowhere(message: Message) -> None:
    """Takes no message."""


_PASSES_ON: Final = _does(_code_of(_wrapper(_nowhere)))
