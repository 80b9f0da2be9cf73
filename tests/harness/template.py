"""A process that has imported what the tests' processes need, and forks one for each request: run as a script.

To start Python and import a server, the package and its clients takes about a second of a core; a fork takes some
milliseconds. `starting.py` is the other side, and says which processes come from here.

The package is imported from the directory that is the second argument. Requests come on the socket whose number is the
first one: an object of JSON (see `starting.Request`), and with it four descriptors: standard input, output and error,
and a socket for this process alone. On that one go its process id and, when it has ended, its exit code. The end of the
requests is the end of this process; what it started goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading

import coverage

IMPORTED = (
    *(
        "fastapi",
        "httpx",
        "litestar.plugins.pydantic",
        "openai",
        "redis.asyncio",
        "rich.console",
        "rich.table",
        "sentry_sdk",
    ),
    *("sqlalchemy.ext.asyncio", "starlette.applications", "structlog", "typer"),
    *("uvicorn.main", "uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl"),
    *("uvicorn.protocols.websockets.auto", "hypercorn.asyncio.run", "hypercorn.run", "uvloop"),
    *("granian.cli", "granian.server"),
    *(
        "streamguard",
        "streamguard.cli.app",
        "streamguard.contrib.litestar.plugin",
        "streamguard.messages.sql",
        "streamguard.quota",
        "streamguard.stores.redis",
    ),
)
"""What the processes are about to import. Nothing of it reads the environment, opens a file or starts a thread."""

MOST_BYTES = 1 << 17


def serve(requests: socket.socket) -> tuple[str, list[str]] | None:
    """Fork for each request. In a process that was forked: its module and arguments. None after the last request."""
    selector = selectors.DefaultSelector()
    selector.register(requests, selectors.EVENT_READ)
    replies: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for key, _ in selector.select():
            if key.fd in replies:
                pid, reply = replies.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                _, status = os.waitpid(pid, 0)
                told(reply, os.waitstatus_to_exitcode(status))
                reply.close()
                continue
            asked, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 4)
            if not asked:
                return None
            reply = socket.socket(fileno=descriptors.pop())
            pid = os.fork()
            if pid == 0:
                selector.close()
                requests.close()
                reply.close()
                for pidfd, (_, other) in replies.items():
                    os.close(pidfd)
                    other.close()
                return begun(asked, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            told(reply, pid)
            pidfd = os.pidfd_open(pid)
            replies[pidfd] = (pid, reply)
            selector.register(pidfd, selectors.EVENT_READ)


def told(reply: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # whoever asked may have gone
        reply.send(b"%d" % number)


def begun(asked: bytes, descriptors: list[int]) -> tuple[str, list[str]]:
    """Make the forked process what a fresh one would be."""
    request = json.loads(asked)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    env: dict[str, str] = request["env"]
    os.environ.clear()
    os.environ.update(env)
    os.chdir(request["cwd"])
    sys.path[:0] = [request["cwd"], *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    if env.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr] # a text stream
    signal.signal(signal.SIGINT, signal.default_int_handler)
    coverage.process_startup(force=True)
    return request["module"], request["arguments"]


def end_measuring() -> None:
    """Keep what was measured of the imports, and leave nothing that a forked process would write once more."""
    measured = getattr(coverage.process_startup, "coverage", None)
    if measured is not None:
        measured.stop()
        measured.save()
        atexit.unregister(measured._atexit)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end(code: int) -> None:
    """End as Python does, but for taking all objects apart.

    That writes to each page of memory that the process still shares with the template, and so copies it: 70 ms of CPU,
    more than most commands take. Where the output cannot be written, this returns, and Python's own end says so.
    """
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads; multiprocessing ends its processes so too
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who pressed it means the tests, and their end is ours
    coverage.process_startup()  # if it was not begun with this process, and is asked for
    sys.path.insert(0, sys.argv[2])
    for name in IMPORTED:
        importlib.import_module(name)
    sys.path.remove(sys.argv[2])
    end_measuring()
    gc.freeze()
    begins = serve(socket.socket(fileno=int(sys.argv[1])))
    if begins is not None:
        module, arguments = begins
        sys.argv[1:] = arguments
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            if ended.code is None or isinstance(ended.code, int):
                end(ended.code or 0)
            raise
        end(0)


if __name__ == "__main__":
    main()
