"""Every install line, in the documentation, in errors and on the command line, installs this project."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamguard.distribution import DISTRIBUTION, install_command

from ..harness.sources import python_files
from .samples import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"])

_REQUIREMENT = re.compile(
    r"""pip\ install\ [^\n`]*?(?P<name>(?:\./)?streamguard(?:-asgi)?|\{DISTRIBUTION\})(?:\[(?P<extras>[^\]]*)\])?""",
    re.VERBOSE,
)
_CALL = re.compile(r"install_command\(['\"](?P<extra>[^'\"]+)['\"]\)")


def _texts() -> Iterator[tuple[str, str]]:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *python_files(ROOT / "src")]:
        yield str(path.relative_to(ROOT)), path.read_text()


def _lines() -> list[tuple[str, str, str]]:
    """Page, name and extras of every line that installs this project."""
    return [(page, m["name"], m["extras"] or "") for page, text in _texts() for m in _REQUIREMENT.finditer(text)]


def test_there_are_install_lines() -> None:
    pages = {page for page, _, _ in _lines()}
    assert {"docs/tutorial/index.md", "docs/reference/cli.md", "src/streamguard/distribution.py"} <= pages


@pytest.mark.parametrize(("page", "name", "extras"), _lines())
def test_install_lines_name_this_project_and_extras_it_has(page: str, name: str, extras: str) -> None:
    """`streamguard` alone is somebody else's on the package index. Pages install from a checkout, since nothing is
    released; code that runs is installed already, so there the distribution's name finds it."""
    allowed = {"./streamguard"} if page.endswith(".md") else {DISTRIBUTION, "{DISTRIBUTION}"}
    assert name in allowed, f"{page}: pip install {name}"
    for extra in filter(None, extras.split(",")):
        assert extra in EXTRAS or extra == "{extra}", f"{page}: no extra {extra}"


def test_errors_name_extras_that_exist() -> None:
    named = {m["extra"] for _, text in _texts() for m in _CALL.finditer(text)}
    assert named
    assert named <= EXTRAS


def test_a_checkout_installs_the_distribution(tmp_path: Path) -> None:
    (tmp_path / "streamguard").symlink_to(ROOT)
    report = _pip("--no-deps", "--report", "-", "./streamguard[fastapi,sqlite]", cwd=tmp_path)
    (installed,) = json.loads(report)["install"]
    assert installed["metadata"]["name"] == DISTRIBUTION == PROJECT["name"]


def test_the_command_of_an_error_adds_to_what_is_installed() -> None:
    """Without an index: all it may use is here."""
    requirement = install_command("sqlite").removeprefix("pip install ").strip("'")
    assert "Would install" not in _pip("--no-index", requirement, cwd=ROOT)


def _pip(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", *arguments],
        cwd=cwd,
        # Unmeasured: coverage would take the checkout, which has the package's name here, for what it is to measure.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
