"""One measured server process: `python -m benchmarks.serve <module> <contender> <socket fd> <store url>`."""

from __future__ import annotations

import importlib
import socket
import sys

import uvicorn


def main() -> None:
    module_name, name, fd, url = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    # Import only this one: a bare server must not have streamguard's modules in its memory.
    module = importlib.import_module(module_name)
    (contender,) = (one for one in module.CONTENDERS if one.name == name)
    app = module.app(contender, url)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", ws="none", access_log=False, log_level="warning")
    # The parent passes a socket that already listens, so no process has to guess a free port or wait for one.
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


if __name__ == "__main__":
    main()
