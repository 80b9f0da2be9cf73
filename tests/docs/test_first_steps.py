"""Tutorials and README, followed to the letter in a fresh environment: each command says what the page shows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .first_steps import Reader, matches
from .samples import ROOT

READERS = ({"README.md": (1, 4)}, {"docs/tutorial/index.md": (5, 2), "docs/tutorial/keep-your-chats.md": (9, 1)})
"""What each reader follows, one page after the other: how many commands have their output compared, and how many
servers come up. Those of the README and of the first tutorial are two workers in the end."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m venv` makes."""
    directory = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True, timeout=60)
    return directory


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is in the repository, as it stands here."""
    directory = tmp_path_factory.mktemp("repository") / "streamguard"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # or it is being removed
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
    return directory


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_reader_sees_what_the_pages_show(environment: Path, checkout: Path, redis_url: str, tmp_path: Path) -> None:
    for number, pages in enumerate(READERS):
        directory = tmp_path / str(number)
        directory.mkdir()
        reader = Reader(directory, environment, checkout, redis_url=redis_url)
        try:
            for page, expected in pages.items():
                before = reader.compared, reader.served
                reader.follow(page)
                assert (reader.compared - before[0], reader.served - before[1]) == expected, page
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
