"""A process that a server runs takes the objects of its start out of garbage collection, once."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

import httpx
import pytest
from starlette.testclient import TestClient

from tests.apps import frozen
from tests.harness.waiting import wait_until
from tests.harness.workers import Server, Worker

APP = "tests.apps.frozen:app"


def told(worker: Worker) -> dict[str, int]:
    answer: dict[str, int] = httpx.get(f"{worker.url}/frozen").json()
    return answer


@pytest.mark.parametrize(
    ("server", "arguments"), [("uvicorn", ()), ("hypercorn", ()), ("granian", ()), ("uvicorn", ("--reload",))]
)
def test_a_served_process_freezes_its_start(server: Server, arguments: tuple[str, ...]) -> None:
    with Worker(APP, server=server, arguments=arguments) as worker:
        wait_until(lambda: told(worker)["frozen"], description="the objects of the start are frozen")
        count = told(worker)["count"]
        for _ in range(20):
            last = told(worker)
            assert last["frozen"]
            assert last["count"] <= count, "frozen once, also with two guards"
            count = last["count"]


def test_a_setting_leaves_the_collector_alone() -> None:
    with Worker(APP, env={"STREAMGUARD_SETTINGS": json.dumps({"freeze_start": False})}) as worker:
        assert not told(worker)["frozen"]


def test_a_test_s_own_process_is_left_alone() -> None:
    before = gc.get_freeze_count()
    with TestClient(frozen.app) as client:
        assert client.get("/frozen").json()["count"] <= before


ONCE = """
import gc, os
from streamguard.web.application.frozen_start import freeze_start

gc.disable()
assert not freeze_start() and gc.get_freeze_count() == 0, "the host's choice"
gc.enable()
assert freeze_start()
count = gc.get_freeze_count()
assert count > 1_000
assert not freeze_start() and gc.get_freeze_count() == count, "once in a process"
if (pid := os.fork()) == 0:
    os._exit(0 if freeze_start() and not freeze_start() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "and once in each that it forks"
assert gc.get_freeze_count() == count
"""


def test_a_process_freezes_once_and_so_does_one_that_it_forks() -> None:
    subprocess.run([sys.executable, "-c", ONCE], check=True, timeout=60)


def test_full_collections_come_less_often_unless_the_host_has_chosen() -> None:
    young, middle, oldest = gc.get_threshold()
    rarer = (young, middle, 400_000 // (young * (middle + 1)))
    assert thresholds_after("pass") == rarer
    for chosen in ((young, middle, oldest + 1), (young + 1, middle, oldest), (young, middle + 1, oldest)):
        assert thresholds_after(f"gc.set_threshold(*{chosen})") == chosen
    assert thresholds_after("gc.set_threshold(0)") == (0, middle, oldest), "which switches the collector off as well"


def thresholds_after(choice: str) -> tuple[int, ...]:
    """The thresholds of a process that has frozen its start, after this choice of its host's."""
    frozen = "from streamguard.web.application.frozen_start import freeze_start; assert freeze_start()"
    code = f"import gc; {choice}; {frozen}; print(*gc.get_threshold())"
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    return tuple(map(int, done.stdout.split()))
