"""An endpoint's default name is the same in every process, however that was started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamguard.web.endpoint.module_name import module_name

pytestmark = [pytest.mark.processes, pytest.mark.repeats]

MAIN = """
from streamguard.web.endpoint.signature import EndpointSignature

async def chat(): yield "a"

class Chats:
    async def talk(self): yield "a"

print(EndpointSignature.read(chat, {}).name, EndpointSignature.read(Chats().talk, {}).name)
"""
IMPORTING = "import sys; sys.path[:0] = sys.argv[1:2]; import importlib; importlib.import_module(sys.argv[2])"


def named(folder: Path, *args: str) -> str:
    """What a program prints that is started so."""
    done = subprocess.run([sys.executable, *args], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(MAIN)
    for package in ("shop", "shop/api"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / "main.py").write_text(MAIN)
    (tmp_path / "shop" / "__main__.py").write_text(MAIN)
    (tmp_path / "parts").mkdir()  # a package without an __init__.py
    (tmp_path / "parts" / "main.py").write_text(MAIN)
    (tmp_path / "app-1.2").mkdir()  # the directory of a release
    (tmp_path / "app-1.2" / "__init__.py").write_text("")
    (tmp_path / "app-1.2" / "main.py").write_text(MAIN)
    return tmp_path


@pytest.mark.parametrize(
    ("expected", "starts"),
    [
        ("main", [("main.py",), ("./main.py",), ("-m", "main"), ("-c", IMPORTING, ".", "main")]),
        (
            "shop.api.main",
            [
                ("shop/api/main.py",),
                ("-m", "shop.api.main"),
                ("-c", IMPORTING, ".", "shop.api.main"),
                ("-c", IMPORTING, "shop/api", "main"),  # uvicorn --app-dir shop/api main:app
            ],
        ),
        ("shop.__main__", [("shop",), ("-m", "shop"), ("-c", IMPORTING, ".", "shop.__main__")]),
        ("main", [("parts/main.py",), ("-m", "parts.main"), ("-c", IMPORTING, "parts", "main")]),
        ("main", [("app-1.2/main.py",), ("-c", IMPORTING, "app-1.2", "main")]),
    ],
)
def test_it_does_not_depend_on_how_the_process_was_started(
    folder: Path, expected: str, starts: list[tuple[str, ...]]
) -> None:
    assert {named(folder, *start) for start in starts} == {f"{expected}:chat {expected}:Chats.talk"}


def test_a_module_without_a_file_is_called_as_it_calls_itself(tmp_path: Path) -> None:
    assert named(tmp_path, "-c", MAIN).startswith("__main__:chat ")
    assert module_name("nowhere") == "nowhere"


def test_a_package_is_named_after_its_folder(folder: Path) -> None:
    (folder / "shop" / "__init__.py").write_text(MAIN)
    assert named(folder, "-c", "import shop").startswith("shop:chat ")
