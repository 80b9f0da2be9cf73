"""Every command that the kit names runs, on a real store with something to see.

What the pages show of their outputs is compared by `tests/docs/test_cli_page.py`.
"""

from __future__ import annotations

import os
import re
from typing import Final

import pytest

from streamguard.cli.exits import ExitCode
from streamguard.quota import Quota, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.stores.redis import RedisStore
from streamguard.testing._stream_store.outbox import enqueued
from streamguard.testing._stream_store.steps import begin

from ..cli.running import ROOT, ran
from .rules import ALERTS, OPS

pytestmark = [pytest.mark.anyio, pytest.mark.processes]

_NAMED: Final = re.compile(r"`(streamguard [a-z][^`]*)`")
_OUTPUT: Final = re.compile(r"```.*?```", re.S)


def commands() -> set[str]:
    """As the pages and the alerts have them: `streamguard outbox list - --dead`."""
    found = {alert.annotations["command"] for alert in ALERTS.values()}
    for page in OPS.rglob("*.md"):
        found |= set(_NAMED.findall(_OUTPUT.sub("", page.read_text())))
    return found


@pytest.mark.long
async def test_every_command_runs(redis_url: str) -> None:
    store = RedisStore(redis_url, command_seconds=5)
    ref = await begin(store)
    await enqueued(store)
    async with RedisClient(redis_url, command_seconds=5) as client:
        await RedisQuotaStore(client).reserve(ref, {"tokens": 5}, [Quota(100, "day")])
    await store.aclose()
    env = {
        "STREAMGUARD_URL": redis_url,
        "SHOP_REDIS": redis_url,
        "SHOP_FAULT": "/nonexistent",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "docs" / "shop_app"), str(ROOT)]),
    }
    named = sorted(commands())
    assert len(named) > 10
    for command in named:
        words = command.replace("shop.chat:guard", "shop:guard").replace("SESSION", ref.key.session_id).split()[1:]
        words = [ref.key.owner if word in ("OWNER", "ann") else word for word in words]
        done = ran(*words, env=env)
        assert done.code in (ExitCode.OK, ExitCode.PROBLEMS), (command, done)
        assert done.out, command
