"""What a run of the benchmarks says about its machine and its code."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from benchmarks.machine import commit, facts

pytestmark = pytest.mark.processes  # git


def test_the_facts_name_the_measured_version() -> None:
    assert f"streamguard-asgi {metadata.version('streamguard-asgi')}" in facts()["packages"]


def test_a_commit_of_documentation_leaves_the_measured_code_as_it_was(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, timeout=20)

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    git("init")
    for name in ("src/code.py", "benchmarks/run.py", "pyproject.toml"):
        write(name, "1")
    git("add", ".")
    git("commit", "--message", "Code")
    measured = commit(tmp_path)
    assert "-" not in measured

    write("docs/record.json", "{}")
    assert commit(tmp_path) == measured
    git("add", ".")
    git("commit", "--message", "Record")
    assert commit(tmp_path) == measured

    write("src/code.py", "2")
    assert commit(tmp_path) == f"{measured}-dirty"
    git("commit", "--all", "--message", "Other code")
    assert commit(tmp_path) not in (measured, f"{measured}-dirty")


def test_code_outside_a_repository_has_no_known_commit(tmp_path: Path) -> None:
    assert commit(tmp_path) == "(unknown)"
