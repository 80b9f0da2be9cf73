"""The rules for contributors name guards that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/explanation/rules.md").read_text()
RULES = re.split(r"^- ", TEXT, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule[2:42])
def test_each_rule_has_a_guard(rule: str) -> None:
    assert re.match(r"\*\*.+\.\*\*\n", rule)
    assert "  *Guard:* " in rule


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tests|scripts)/[^`]+)`", TEXT))))
def test_each_path_is_there(path: str) -> None:
    assert (ROOT / path).exists()
