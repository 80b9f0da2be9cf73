"""Workers that stand still for as long as a test wants."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.harness.workers import Worker

__all__ = ["HOWS", "stalled"]

HOWS: Final = ("stopped by a signal", "stalled event loop")


@asynccontextmanager
async def stalled(worker: Worker, how: str, directory: Path) -> AsyncIterator[None]:
    """Neither serves nor renews anything in the meantime."""
    if how == "stopped by a signal":
        worker.pause()
        yield
        worker.resume()
        return
    path = directory / "hold-up"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)  # both ends: opening it waits for nobody
    url = f"{worker.url}/hold-up"
    holding = asyncio.create_task(
        asyncio.to_thread(httpx.post, url, params={"pipe": str(path)}, timeout=90.0, trust_env=False)
    )
    try:
        yield
    finally:
        os.write(pipe, b"!")
        (await holding).raise_for_status()
        os.close(pipe)
        path.unlink()
