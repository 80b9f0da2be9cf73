"""A test application as a later release of streamguard would run it, for tests in which two releases share a Redis.

- `CHAT_MODULE`: which one; `tests.apps.chat` without it.
- `CHAT_FORMAT_VERSION`: the format version it writes and reads; the present one without it.
- `POST /api/tomorrow`: an endpoint whose protocol only the later release knows.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import ClassVar

__all__ = ["application"]


class _LaterValues(SourceFileLoader):
    """Loads `streamguard.values` with another format version: before any other module has read the constant."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        vars(module)["FORMAT_VERSION"] = int(os.environ["CHAT_FORMAT_VERSION"])


class _Later(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "streamguard.values":
            return None
        found = PathFinder.find_spec(fullname, path, target)
        assert found is not None
        assert found.origin is not None
        return spec_from_file_location(fullname, found.origin, loader=_LaterValues(fullname, found.origin))


if "CHAT_FORMAT_VERSION" in os.environ:
    assert "streamguard" not in sys.modules, "its constants are read already"
    sys.meta_path.insert(0, _Later())

wire = importlib.import_module("streamguard.wire")
chat = importlib.import_module("tests.apps.chat")


class OfTomorrow(wire.PlainProtocol):  # type: ignore[name-defined, misc] # imported late, so mypy does not know it
    name: ClassVar[str] = "of-tomorrow"


wire._PROTOCOLS[OfTomorrow.name] = OfTomorrow()


async def tomorrow(body: chat.Script) -> AsyncIterator[str]:  # type: ignore[name-defined]
    async for piece in chat.model(body):
        yield piece


site = importlib.import_module(os.environ.get("CHAT_MODULE", "tests.apps.chat"))
guarded = site.guard.stream(session="body.id", protocol="of-tomorrow")(tomorrow)
site.app.post("/api/tomorrow")(guarded)
application = site.application
