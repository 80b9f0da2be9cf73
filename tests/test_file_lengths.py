"""No file of ours is long: the second responsibility in it gets a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness.sources import source_files

ROOT = Path(__file__).parent.parent
MOST = 400
FOLDERS = ("src", "tests", "benchmarks", "examples", "docs", "scripts", "clients/javascript/src")


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_longer_than_400_lines(folder: str) -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in source_files(ROOT / folder, ".py", ".ts", ".tsx")
    }
    too_long = {name: length for name, length in lengths.items() if length > MOST}
    assert not too_long, f"split what has more than {MOST} lines, by what it is about"
