"""Tutorials and README, followed to the letter in a fresh environment: each command says what the page shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .first_steps import Reader, matches

READERS = ({"README.md": 1}, {"docs/tutorial/index.md": 5, "docs/tutorial/keep-your-chats.md": 6})
"""What each reader follows, one page after the other, and how many commands have their output compared."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m venv` makes."""
    directory = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True, timeout=60)
    return directory


@pytest.mark.timeout(300)
def test_a_reader_sees_what_the_pages_show(environment: Path, redis_url: str, tmp_path: Path) -> None:
    for number, pages in enumerate(READERS):
        directory = tmp_path / str(number)
        directory.mkdir()
        reader, compared = Reader(directory, environment, redis_url=redis_url), 0
        try:
            for page, commands in pages.items():
                reader.follow(page)
                compared += commands
                assert reader.compared == compared, page
        finally:
            reader.close()
    installed = subprocess.run(
        [environment / "bin" / "python", "-c", "import streamguard; print(streamguard.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert installed.stdout.startswith(str(environment))


@pytest.mark.parametrize(
    ("said", "shown", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\nb\n", "a\nc\n", False),
        ("a\nx\ny\nb\n", "a\n…\nb\n", True),
        ("a\nx\ny\nb\nc\n", "a\n…\nb\n", False),
        ('{"a":1,"b":2}', '{"a":1,…}', True),
        ('{"a":1,"b":2}', '{"a":2,…}', False),
        (
            "id: 1.0123456789abcdef01234567.1795878588966432.4",
            "id: 1.aaaaaaaaaaaaaaaaaaaaaaaa.1111111111111111.4",
            True,
        ),
        (
            "id: 1.0123456789abcdef01234567.1795878588966432.4",
            "id: 1.aaaaaaaaaaaaaaaaaaaaaaaa.1111111111111111.5",
            False,
        ),
    ],
)
def test_what_is_shown_may_leave_out_and_ids_differ(said: str, shown: str, same: bool) -> None:
    assert matches(said, shown) is same
