"""The types of `streamguard-client`: with each version of AI SDK, and every TypeScript sample of the documentation."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from ..docs.samples import ROOT
from .packed import PACKAGE, tsc
from .test_clients import HERE, node
from .test_packed_client import client

__all__ = ["client", "node"]

PAGES: Final = (
    "clients/javascript/README.md",
    "docs/how-to/javascript-client.md",
    "docs/reference/javascript.md",
)
SDKS: Final[dict[str, dict[str, str]]] = {
    "5.0.277": {"ai": "ai-5.0.277", "@ai-sdk/react": "react5"},
    "6.0.322": {"ai": "ai-6.0.322", "@ai-sdk/react": "react6"},
    "7.0.173": {"ai": "ai", "@ai-sdk/react": "@ai-sdk/react"},
}
"""Where the packages of each version are installed. A page's other packages are the same."""

OPTIONS: Final = {
    "target": "ES2022",
    "jsx": "react-jsx",
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "verbatimModuleSyntax": True,
    "isolatedModules": True,
    "noUncheckedIndexedAccess": True,
    "noUnusedLocals": True,
    "noEmit": True,
    "types": [],
}

MODULES: Final[dict[str, dict[str, str]]] = {
    "bundler": {"module": "ESNext", "moduleResolution": "Bundler"},
    "node16": {"module": "Node16"},
    "nodenext": {"module": "NodeNext"},
}
"""How projects find packages: those of a bundler, and those of Node.js."""


@pytest.fixture
def project(client: Path) -> Iterator[Path]:
    """A directory in which only the packed client is installed."""
    with tempfile.TemporaryDirectory(dir=HERE / "node_modules", prefix=".types-") as directory:
        place = Path(directory)
        (place / "package.json").write_text('{"private": true, "type": "module"}')
        (place / "node_modules").mkdir()
        shutil.copytree(client / "streamguard-client", place / "node_modules" / "streamguard-client")
        yield place


def link(project: Path, packages: Mapping[str, str]) -> None:
    """Install packages of these tests, each under the name that a page imports."""
    for name, installed in packages.items():
        target = project / "node_modules" / name
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(HERE / "node_modules" / installed, target_is_directory=True)


def check(project: Path, **more: object) -> None:
    """Compile a project, in each way of finding packages.

    Raises:
        AssertionError: it has an error; the message has the compiler's report.
    """
    for name, modules in MODULES.items():
        options = {"compilerOptions": {**OPTIONS, **modules, **more}, "include": ["*.ts*"]}
        (project / f"tsconfig.{name}.json").write_text(json.dumps(options))
        command = [str(tsc()), "-p", f"tsconfig.{name}.json"]
        ran = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=100)
        assert ran.returncode == 0, f"{name}: {ran.stdout}{ran.stderr}"


def samples(page: str) -> Iterator[tuple[str, str]]:
    """A file's name and the source of each TypeScript sample."""
    text = (ROOT / page).read_text()
    for fence in re.finditer(r"^```(tsx?)[^\n]*\n(.*?)^```$", text, re.M | re.S):
        line = text.count("\n", 0, fence.start(2)) + 1
        yield f"{re.sub('[^a-z]+', '_', page.lower())}_line_{line}.{fence[1]}", fence[2]


@pytest.mark.parametrize("version", SDKS)
def test_a_strict_page_and_every_sample_compile(project: Path, version: str) -> None:
    link(project, {**SDKS[version], "react": "react", "@types/react": "@types/react"})
    shutil.copy(HERE / "typed_page.tsx", project)
    count = 0
    for page in PAGES:
        for name, source in samples(page):
            (project / name).write_text(source)
            count += 1
    assert count >= 8
    check(project, skipLibCheck=True)


def test_its_own_declarations_need_nothing_else(project: Path) -> None:
    (project / "page.ts").write_text('export * from "streamguard-client";\n')
    check(project, skipLibCheck=False)


def test_the_reference_names_every_export() -> None:
    source = (PACKAGE / "src" / "index.ts").read_text()
    exported = set(re.findall(r"^  (?:type )?(\w+),$", source, re.M))
    exported |= {name for line in re.findall(r"^export .*?\{ (.*) \}", source, re.M) for name in line.split(", ")}
    names = {name.removeprefix("type ") for name in exported}
    assert len(names) > 40
    page = (ROOT / "docs/reference/javascript.md").read_text()
    assert {name for name in names if not re.search(rf"\b{name}\b", page)} == set()


def test_the_package_is_small_and_needs_nothing(client: Path) -> None:
    installed = client / "streamguard-client"
    described = json.loads((installed / "package.json").read_text())
    assert "dependencies" not in described
    assert described["license"] == "Apache-2.0"
    assert (installed / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (installed / "dist" / "index.d.ts").exists()
    assert (installed / "dist" / "index.js.map").exists()
    assert [path.name for path in client.iterdir() if not path.name.startswith(".")] == ["streamguard-client"]
    assert (installed / described["exports"]["."]["types"]).exists()
    assert described["sideEffects"] is False
    sources = json.loads((installed / "dist" / "index.js.map").read_text())["sources"]
    assert all((installed / "dist" / source).exists() for source in sources)
    assert 'from "ai"' not in "".join(path.read_text() for path in (installed / "dist").glob("*.js"))


def test_the_lock_file_names_no_registry() -> None:
    assert "resolved" not in (PACKAGE / "package-lock.json").read_text()


def test_the_bundle_of_the_examples_is_up_to_date(client: Path, tmp_path: Path) -> None:
    """`npm run bundle` in clients/javascript makes it, for pages without a build step."""
    bundle = json.loads((PACKAGE / "package.json").read_text())["scripts"]["bundle"]
    target = "../../examples/shared/static/streamguard-client.mjs"
    assert target in bundle
    banner = re.search(r'--banner:js="([^"]+)"', bundle)
    assert banner is not None
    # The build that was packed, as the bundle's sources are named in it.
    shutil.copytree(client / "streamguard-client" / "dist", tmp_path / "dist")
    made = tmp_path / "made.mjs"
    esbuild = PACKAGE / "node_modules" / ".bin" / "esbuild"
    options = ["--bundle", "--format=esm", "--target=es2022", f"--banner:js={banner[1]}", f"--outfile={made}"]
    subprocess.run([esbuild, "dist/index.js", *options], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert made.read_text() == (PACKAGE / target).read_text()
