"""The map for contributors names what is there, and every room."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from ..harness.sources import python_files

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "src" / "streamguard"
PAGES: Final = sorted((ROOT / "docs" / "contributing").glob("*.md"))
ARCHITECTURE: Final = (ROOT / "docs" / "contributing" / "architecture.md").read_text()
_PATH: Final = re.compile(r"(?<![\w/<-])((?:[\w-]+/)+(?:[\w-]+\.\w+)?|\w+\.py)(?![\w>])")
_INVENTED: Final = re.compile(r"lines|disk|model_overloaded")
"""What a recipe has its reader write."""
_NAME: Final = re.compile(r"_?[A-Za-z]\w*(?:\.\w+)*")


def folders(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if (path / "__init__.py").exists())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_path_is_there(page: Path) -> None:
    text = page.read_text()
    spans = chain(re.findall(r"`([^`\n]+)`", text), re.findall(r"^ .*$", text, re.MULTILINE))
    for path in {path for span in spans for path in _PATH.findall(span)}:
        if not _INVENTED.search(path):
            assert (ROOT / path).exists() or (PACKAGE / path).exists() or list(PACKAGE.rglob(path)), path


@pytest.fixture(scope="module")
def code() -> frozenset[str]:
    """Every word of the package, its tests and its configuration."""
    places = [ROOT / "pyproject.toml", *python_files(PACKAGE), *python_files(ROOT / "tests")]
    return frozenset(word for path in places for word in re.findall(r"\w+", path.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_name_is_in_the_code(page: Path, code: frozenset[str]) -> None:
    spans = set(re.findall(r"`([^`\n]+)`", page.read_text()))
    named = {span for span in spans if _NAME.fullmatch(span) and not (ROOT / span).exists()}
    unknown = {span for span in named if not _INVENTED.search(span) and not code.issuperset(span.split("."))}
    assert not unknown


def test_each_room_is_on_the_map() -> None:
    rooms = {f"{name}/" for name in folders(PACKAGE)} - {"contrib/"}
    rooms |= {f"{name}/" for room in ("runtime", "web") for name in folders(PACKAGE / room)}
    assert rooms <= set(re.findall(r"`(\w+/)`", ARCHITECTURE))


def test_each_module_of_the_ground_is_on_the_map() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    named = set(re.findall(r"`(\w+)(?:\.py)?`", ARCHITECTURE))
    assert modules <= named
