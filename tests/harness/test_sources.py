"""Tests that walk the project's files look only at its own."""

from __future__ import annotations

import re
from pathlib import Path

from .sources import NOT_OURS, python_files

TESTS = Path(__file__).parent.parent
PACKAGE = TESTS.parent / "src"


def test_folders_of_others_are_not_entered(tmp_path: Path) -> None:
    for name in (*NOT_OURS, "ours"):
        (tmp_path / "some" / name).mkdir(parents=True)
        (tmp_path / "some" / name / "module.py").touch()
    assert list(python_files(tmp_path)) == [tmp_path / "some" / "ours" / "module.py"]


def test_no_test_walks_the_tests_by_itself() -> None:
    """`rglob` enters `node_modules`, from which other tests take temporary folders away."""
    walkers = [
        str(path.relative_to(TESTS))
        for path in python_files(TESTS)
        if path != Path(__file__) and re.search(r'rglob\("[\w*]*\.py"\)|glob\("\*\*', path.read_text())
    ]
    assert not walkers, "use `python_files` of tests/harness/sources.py"


def test_the_package_is_found() -> None:
    assert PACKAGE / "streamguard" / "guard.py" in set(python_files(PACKAGE))
