"""Two of the ways that `scripts/newcomer` tries, as somebody new would: in a fresh environment, from the page alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from .newcomer import LIMIT_SECONDS, WAYS, main, try_way
from .samples import ROOT


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["jwt", "postgresql"])
def test_a_way_is_followed_from_its_page(name: str) -> None:
    assert try_way(name) < LIMIT_SECONDS


def test_the_command_names_every_way() -> None:
    text = Path(ROOT / "scripts/newcomer").read_text()
    assert f"# scripts/newcomer [{' | '.join(WAYS)}]…" in text


def test_an_unknown_way_is_refused() -> None:
    assert main(["by magic"]) == 2
