"""Starlette's own wrappers around `send`, which a response's body need not go through.

Starlette wraps `send` three times, only to note that the response has started: from then on these wrappers pass on
every message as it is. Each costs a coroutine for each event; measured with one event a chunk, all three take about
a tenth of what an event costs the server. So once the response has started, its body's messages go to what is inside
of them. A wrapper of anybody else's gets all messages, and so does what it wraps.
"""

from __future__ import annotations

from functools import lru_cache
from types import CodeType, FunctionType
from typing import Final, cast

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
    while type(send) is FunctionType and (at := _inner_cell(send.__code__, send.__module__)) is not None:
        send = (send.__closure__ or ())[at].cell_contents
    return send


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
