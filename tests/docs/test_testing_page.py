"""The how-to page about tests: what it shows are tests, so they are run as such."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .samples import ROOT, blocks

PAGE = "docs/how-to/test-your-app.md"


def test_the_tests_shown_pass(tmp_path: Path) -> None:
    source = "\n\n".join(text for _, text in blocks(PAGE, "python"))
    shown = re.findall(r"^async def (test_\w+)", source, re.M)
    assert len(shown) > 5
    (tmp_path / "test_shown.py").write_text("from tests.docs.preamble import *\n\n" + source)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error", "-c", "/dev/null"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed is not None
    assert int(passed[1]) > len(shown)
