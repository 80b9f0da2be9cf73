"""The load process: `python -m benchmarks.load`, one `Load` as JSON on stdin, one `Turn` as JSON on stdout."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Final

import uvloop
from pydantic import TypeAdapter

from .crowds import long_replay, storm
from .plan import Kind, Load, Measured
from .turns import Turn
from .workloads import Workload

__all__ = ["LOAD", "TURN", "run"]

LOAD: Final = TypeAdapter(Load)
TURN: Final = TypeAdapter(Turn)


async def run(load: Load) -> Turn:
    """Carry out one `Load`. A server's mistakes are in the result's `problems`; they raise nothing."""
    gc.disable()  # a collection in this process would be measured as the server's latency
    try:
        async with asyncio.timeout(load.timeout_seconds):
            match load.kind:
                case Kind.STORM:
                    return Turn(await storm(load))
                case Kind.LONG_REPLAY:
                    return Turn(await long_replay(load))
                case _:
                    return await Workload(load).run()
    except TimeoutError:
        return Turn(Measured(problems=[f"not done within {load.timeout_seconds:.0f} s"]))
    finally:
        gc.enable()


def main() -> None:
    load = LOAD.validate_json(sys.stdin.buffer.read())
    answer = TURN.dump_json(uvloop.run(run(load)))
    # Not `sys.stdout.buffer`: with PYTHONUNBUFFERED set that may write a part, and say no more.
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(answer)


if __name__ == "__main__":
    main()
