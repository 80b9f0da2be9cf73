"""`python -m tests.ops.record FILE [NAME…]`: plays incidents in a guarded shop and writes what Prometheus scraped.

Each is a run of its own, with the default settings, on a clock that moves only when everybody waits for it: every
minute of Prometheus' time is a minute of the application's, in which visitors come, heartbeats beat and rounds are
made. Never import this module: it sets its process's clocks.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any, Final

import structlog

from . import virtual_time

virtual_time.install()  # before the package is imported

from .incidents import BEFORE, INCIDENTS, nothing, worker_away  # noqa: E402
from .rules import RECORDED_METRICS  # noqa: E402
from .shop import Shop  # noqa: E402

__all__: list[str] = []

CRITICAL: Final = 50
BUSY_AFTER: Final = 4
"""So many minutes after an incident are ordinary, too. Then fewer visitors come: what is left to see is that nothing
fires."""


def main(file: str, *names: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))
    recorded = {}
    for name in names or INCIDENTS:
        virtual_time.reset()
        random.seed(name)  # the jitter of background work
        with virtual_time.runner() as runner:
            recorded[name] = runner.run(_recorded(name))
    Path(file).write_text(json.dumps(recorded))


async def _recorded(name: str) -> dict[str, Any]:
    incident = INCIDENTS[name]
    shop = Shop(RECORDED_METRICS, **incident.settings)
    await shop.start()
    for minute in range(1, BEFORE + incident.minutes + incident.healthy_after + 1):
        at = minute - BEFORE
        if at == incident.minutes + 1:
            await shop.repair()
        if 0 < at <= incident.minutes:
            if incident.play is worker_away:
                await shop.unanswered()
                continue
            await incident.play(shop, at)
        if minute == BEFORE // 2 and incident.play is not nothing:
            await shop.deploy()
        if at <= incident.minutes + BUSY_AFTER or minute % 3 == 0:
            await shop.visits()
        await shop.until_scraped()
    await shop.end()
    return {"series": shop.recording.series(), "minutes": shop.recording.minutes}


if __name__ == "__main__":
    main(*sys.argv[1:])
