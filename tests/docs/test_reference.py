"""The reference pages say what the package says."""

from __future__ import annotations

import pytest

from .tables import TABLES, read_table


@pytest.mark.parametrize("page", TABLES)
def test_generated_tables_are_current(page: str) -> None:
    assert read_table(page) == TABLES[page](), "run: python -m tests.docs.tables"
