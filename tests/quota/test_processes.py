"""Two processes and one budget: never a reservation too many, and the books balance when all is settled."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import anyio.to_thread
import pytest

from streamguard.quota import RedisQuotaStore
from streamguard.stores import RedisClient

from ..harness.workers import ROOT
from .reserver import OWNER, budget

pytestmark = pytest.mark.anyio

_LIMIT, _EACH = 37, 100


class Process:
    """A reserver, spoken to line by line."""

    def __init__(self, url: str, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.quota.reserver", url, name, str(_EACH), str(_LIMIT)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def heard(self) -> str:
        assert self._process.stdout is not None
        return (await anyio.to_thread.run_sync(self._process.stdout.readline)).strip()

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


async def test_two_hundred_at_once_from_two_processes_admit_what_there_is(redis_url: str) -> None:
    processes = [Process(redis_url, name) for name in ("a", "b")]
    async with RedisClient(redis_url, command_seconds=5) as client:
        store, quota = RedisQuotaStore(client, hold_seconds=600), budget(_LIMIT)
        try:
            assert [await process.heard() for process in processes] == ["ready", "ready"]
            for process in processes:
                process.go()
            admitted = [int(said) for said in await asyncio.gather(*(process.heard() for process in processes))]
            assert sum(admitted) == _LIMIT
            (standing,) = (await store.status(OWNER, [quota])).standings
            assert (standing.used, standing.reserved) == (0, _LIMIT)
            for process in processes:
                process.go()
            settled = [json.loads(said) for said in await asyncio.gather(*(process.heard() for process in processes))]
        finally:
            for process in processes:
                process.end()
        assert sum(changed for _, changed in settled) == _LIMIT
        audit = await store.audit(OWNER, [quota])
        assert (audit.drift, audit.conflicts) == (0, 0)
        (counted,) = audit.windows
        assert (counted.used, counted.reserved) == (sum(charged for charged, _ in settled), 0)
        assert await store.held(OWNER) == []
        assert await store.due(limit=10, claim_seconds=1) == []
