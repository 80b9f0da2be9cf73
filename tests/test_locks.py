"""Locks that a forked process finds free, and what they guard whole."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import streamguard

from .harness.sources import modules_with

PACKAGE = Path(streamguard.__file__).parent

FORKING = """
import os, sys, threading
from streamguard.locks import step_lock

sys.setswitchinterval(60)  # a thread runs until it waits
first, second, done = step_lock(), step_lock(), []
begun, forking = threading.Event(), threading.Event()
os.register_at_fork(before=forking.set)

def step():
    with second:
        begun.set()
        forking.wait()
        with first:
            done.append("one half")
        done.append("the other")

def is_free(lock):
    taken = []
    thread = threading.Thread(target=lambda: taken.append(lock.acquire(timeout=5)))
    thread.start()
    thread.join()
    return taken == [True]

thread = threading.Thread(target=step)
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    os._exit(0 if len(done) == 2 and is_free(first) and is_free(second) else 1)
assert os.waitpid(child, 0)[1] == 0
thread.join()
assert is_free(first) and is_free(second)
"""


@pytest.mark.processes
def test_a_process_that_forks_waits_for_the_steps_of_other_threads() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKING], check=True, timeout=60)


NO_STEP = {
    "locks": "is made of one",
    "telemetry/audit/line_writer": "has a thread of its own, and begins anew in a forked process",
    "web/endpoint/threaded_call": "concerns one call, which no forked process goes on with",
}
"""The modules with other locks of threads, each with the reason."""


def _has_thread_locks(module: ast.Module) -> bool:
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module == "threading":
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "threading":
            names = {node.attr}
        else:
            continue
        if names & {"Condition", "Lock", "RLock"}:
            return True
    return False


def test_whatever_threads_have_in_common_has_such_a_lock() -> None:
    found = {
        path.relative_to(PACKAGE).with_suffix("").as_posix()
        for path, module in modules_with({"threading"}, PACKAGE)
        if _has_thread_locks(module)
    }
    assert found == set(NO_STEP)
