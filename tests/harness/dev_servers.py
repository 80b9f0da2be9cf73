"""The development servers of front ends, which pass requests on to an application: Vite and Next.js."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from .front_server import FrontServer
from .workers import ROOT

__all__ = ["FRONT_ENDS", "Next", "Vite"]

FRONT_ENDS: Final = ROOT / "tests" / "clients" / "front_ends"
"""Where their packages are installed. Projects lie below it, so that they find them."""
_MODULES: Final = FRONT_ENDS / "node_modules"
_APPLICATION: Final = "http://127.0.0.1:8000"


class Vite(FrontServer):
    """`vite` on a free port of 127.0.0.1.

    Args:
        node: the path of Node.js.
        configuration: `vite.config.ts`, in which the application is on 127.0.0.1:8000, which is replaced.
        upstream: the port of the application.
    """

    name = "vite"
    start_seconds = 60.0

    def __init__(self, node: str, configuration: str, *, upstream: int) -> None:
        super().__init__(within=FRONT_ENDS)
        self._node = node
        assert configuration.count(_APPLICATION) == 1
        self._configuration = configuration.replace(_APPLICATION, f"http://127.0.0.1:{upstream}")

    def command(self) -> list[str]:
        (self.directory / "vite.config.ts").write_text(self._configuration)
        (self.directory / "index.html").write_text("<!doctype html><title>A chat</title>")
        program = str(_MODULES / "vite" / "bin" / "vite.js")
        return [
            self._node,
            program,
            str(self.directory),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--strictPort",
        ]

    def _listening(self) -> bool:
        # It listens for a moment before it serves, to see whether the port is free.
        return super()._listening() and httpx.get(f"http://127.0.0.1:{self.port}/", trust_env=False).status_code == 200


class Next(FrontServer):
    """`next dev` on a free port of 127.0.0.1.

    Args:
        node: the path of Node.js.
        files: the project's files besides a page, by their paths; those in which the application is on 127.0.0.1:8000
            have another port in its place.
        upstream: the port of the application.
    """

    name = "next"
    start_seconds = 90.0

    def __init__(self, node: str, files: Mapping[str, str], *, upstream: int) -> None:
        super().__init__(within=FRONT_ENDS)
        self._node = node
        self._files = {path: text.replace(_APPLICATION, f"http://127.0.0.1:{upstream}") for path, text in files.items()}

    def command(self) -> list[str]:
        page = "export default function Page() { return <p>A chat</p>; }\n"
        layout = (
            'import type { ReactNode } from "react";\n'
            "export default function Layout({ children }: { children: ReactNode }) {\n"
            "  return <html><body>{children}</body></html>;\n}\n"
        )
        options = '{"private": true}'
        for path, text in {
            "package.json": options,
            "app/page.tsx": page,
            "app/layout.tsx": layout,
            **self._files,
        }.items():
            file = Path(self.directory, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        program = str(_MODULES / "next" / "dist" / "bin" / "next")
        return [self._node, program, "dev", str(self.directory), "--hostname", "127.0.0.1", "--port", str(self.port)]

    def environment(self) -> dict[str, str]:
        return os.environ | {"NEXT_TELEMETRY_DISABLED": "1", "CI": "1"}
