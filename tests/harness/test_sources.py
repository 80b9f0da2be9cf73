"""Tests that walk the project's files look only at its own."""

from __future__ import annotations

import ast
from pathlib import Path

from .sources import NOT_OURS, SCRATCH, modules_with, python_files

TESTS = Path(__file__).parent.parent
PACKAGE = TESTS.parent / "src"
ELSEWHERE = {"ast", "tmp_path", "PACKAGE", "DIRECTORY", "OPS", "SAMPLE", "SOURCE", "ROOT / 'docs'", "PACKAGE / 'src'"}
"""What tests walk beside the tests: syntax trees, and folders that nobody else changes."""


def test_folders_of_others_are_not_entered(tmp_path: Path) -> None:
    for name in (*NOT_OURS, f"{SCRATCH}vite-a1b2", "ours"):
        (tmp_path / "some" / name).mkdir(parents=True)
        (tmp_path / "some" / name / "module.py").touch()
    assert list(python_files(tmp_path)) == [tmp_path / "some" / "ours" / "module.py"]


def test_only_modules_that_say_a_word_are_parsed(tmp_path: Path) -> None:
    for name, text in {"a": "x = lock", "b": "x = locks", "c": "x = blocked.lock", "d": "x ="}.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert [path.stem for path, _ in modules_with({"lock", "key"}, tmp_path)] == ["a", "c"]


def test_no_test_walks_the_tests_by_itself() -> None:
    """A walk of theirs enters `node_modules`, from which other tests take temporary folders away."""
    walks = {
        f"{ast.unparse(node.func.value)} in {path.relative_to(TESTS)}"
        for path in python_files(TESTS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("rglob", "walk")
    }
    others = {walk for walk in walks if walk.partition(" in ")[0] not in ELSEWHERE}
    assert others == {"os in harness/sources.py"}, "use `python_files` of tests/harness/sources.py"


def test_the_package_is_found() -> None:
    assert PACKAGE / "streamguard" / "guard.py" in set(python_files(PACKAGE))
