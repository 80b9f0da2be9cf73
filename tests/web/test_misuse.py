"""Each misuse says so, in the words of the page that lists them by symptom: neither can change without the other."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Final

import pytest

from streamguard.web.misuse import Misuse

from .misuses import ROWS, Row

pytestmark = pytest.mark.anyio

PAGE: Final = (Path(__file__).parents[2] / "docs/how-to/troubleshoot.md").read_text()
TEXTS: Final = {
    name: " ".join(text.split())
    for name, text in re.findall(r"^<!-- misuse: (\w+) -->\n```text\n(.*?)^```$", PAGE, re.M | re.S)
}
"""What the page shows of each, on one line."""


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_each_misuse_says_what_the_page_says(row: Row) -> None:
    if inspect.iscoroutinefunction(row.commit):
        said = await row.commit()
    else:  # where no event loop runs, as when a module is imported
        said = await asyncio.to_thread(row.commit)
    assert said == (row.text or TEXTS[row.misuse.name])


def test_the_page_lists_each_misuse_and_the_matrix_commits_it() -> None:
    names = [misuse.name for misuse in Misuse]
    assert sorted(TEXTS) == sorted(names)
    assert {row.misuse.name for row in ROWS if row.text is None} == set(names)
    assert PAGE.count("<!-- misuse:") == len(names)
