"""The home page: twelve lines of code, a picture that everybody can read, and the README's first sentence."""

from __future__ import annotations

from xml.etree import ElementTree

from .samples import ROOT, blocks

HOME = ROOT / "docs/index.md"
PICTURE = ROOT / "docs/assets/home/reload.svg"


def test_the_code_has_twelve_lines() -> None:
    """`test_samples.py` runs them."""
    ((_, code),) = blocks("docs/index.md", "python")
    assert len([line for line in code.splitlines() if line]) == 12


def test_the_readme_says_the_same() -> None:
    sentence = "LLM chat streams that survive a reload, a lost connection and a dead worker, and that end honestly"
    assert sentence in HOME.read_text()
    assert sentence in (ROOT / "README.md").read_text()


def test_the_picture_has_words_both_schemes_and_a_still_form() -> None:
    text = PICTURE.read_text()
    picture = ElementTree.fromstring(text)
    said = {child.tag.rpartition("}")[2]: child.text or "" for child in picture}
    assert picture.get("role") == "img"
    assert len(said["title"]) > 10
    assert len(said["desc"]) > 100
    assert "prefers-color-scheme: dark" in text
    assert "prefers-reduced-motion: reduce" in text
    assert f"]({PICTURE.relative_to(HOME.parent)})" in HOME.read_text()
