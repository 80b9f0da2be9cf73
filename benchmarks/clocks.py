"""Reads CPU time and memory of processes, and the counters of Redis."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil
import redis

__all__ = ["RedisGauge", "RedisReading", "cpu_ns", "resident_bytes"]


def cpu_ns(pid: int) -> int:
    """User and system time of another process in nanoseconds, ended threads included.

    Reads the process's CPU clock, numbered as in clock_getcpuclockid(3). /proc/<pid>/stat has the same time in steps of
    10 ms, which is the length of a whole burst.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    resident: int = psutil.Process(pid).memory_info().rss
    return resident


@dataclass(frozen=True, slots=True)
class RedisReading:
    cpu_us: float
    used_bytes: int


class RedisGauge:
    """Reads Redis's counters on its own connection. Without a port it reads nothing."""

    def __init__(self, port: int | None) -> None:
        self._client = None if port is None else redis.Redis(host="127.0.0.1", port=port, socket_timeout=5.0)
        if self._client is not None:
            self._client.ping()  # connect now, not within the measured time

    def read(self) -> RedisReading | None:
        if self._client is None:
            return None
        cpu = self._client.info("cpu")
        memory = self._client.info("memory")
        return RedisReading(
            (float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])) * 1e6, int(memory["used_memory"])
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
