"""One measured server process: `python -m benchmarks.serve <target> <socket fd> <store url>`."""

from __future__ import annotations

import socket
import sys

import uvicorn
from starlette.applications import Starlette

from .plan import Target


def _app(target: Target, url: str) -> Starlette:
    # Import only one of the two: a bare server must not have streamguard's modules in its memory.
    if target is Target.BARE:
        from .bare import bare_app  # noqa: PLC0415

        return bare_app()
    from .guarded import guarded_app  # noqa: PLC0415

    return guarded_app(url)


def main() -> None:
    target, fd, url = Target(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    app = _app(target, url)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", ws="none", access_log=False, log_level="warning")
    # The parent passes a socket that already listens, so no process has to guess a free port or wait for one.
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


if __name__ == "__main__":
    main()
