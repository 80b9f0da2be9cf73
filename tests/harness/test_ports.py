"""Servers that start at the same time do not meet at a port, nor at one that the kernel gave to a connection."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .ports import BUS, free_port, free_port_pair

ROOT = Path(__file__).parents[2]
EPHEMERAL = 32_768
"""The first port that Linux gives to connections, unless it is told otherwise."""


def test_many_at_once_are_different() -> None:
    def several(_: int) -> list[int]:
        return [free_port() for _ in range(50)]

    with ThreadPoolExecutor(8) as threads:
        ports = [port for found in threads.map(several, range(8)) for port in found]
    assert len(set(ports)) == len(ports) == 400
    assert max(ports) < EPHEMERAL


def test_another_process_gets_others() -> None:
    code = "from tests.harness.ports import free_port\nfor _ in range(20): print(free_port())"
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    ports = [free_port() for _ in range(20)]
    for process in started:
        ports += [int(line) for line in process.communicate(timeout=60)[0].split()]
        assert process.returncode == 0
    assert len(set(ports)) == len(ports) == 80


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.socket() as one, socket.socket() as other:
        taken = free_port_pair() + 1
        one.bind(("127.0.0.1", taken))
        other.bind(("127.0.0.1", taken + 1 + BUS))
        assert free_port_pair() not in (taken, taken + 1)


def test_a_pair_is_below_what_connections_get() -> None:
    assert free_port_pair() + BUS < EPHEMERAL
