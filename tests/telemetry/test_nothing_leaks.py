"""Nothing that a user, a provider or a driver wrote leaves the process through telemetry, on any path to a fault."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import urllib.parse
from pathlib import Path
from typing import Final

import pytest

from tests.harness.starting import started
from tests.harness.workers import ROOT

from .faults import ALL_SCENARIOS, CANARIES, Stage, of_hosts, of_responses
from .faults.watched import watching

PROGRAM_SECONDS: Final = 240.0
SINKS: Final = (
    *("sentry", "scrubbed", "logging", "structlog", "metrics", "spans", "audit"),
    *("observations", "exceptions", "faults", "refusals", "headers"),
)


@pytest.mark.parametrize(
    "text",
    [
        CANARIES.prompt,
        f"before{CANARIES.prompt.upper()}after",
        urllib.parse.quote(f"a b/{CANARIES.prompt}"),
        json.dumps({"ü": f'"{CANARIES.prompt}\n'}),
        repr(f"\\{CANARIES.prompt}".encode()),
        CANARIES.prompt[:12],
        CANARIES.prompt[-12:],
        CANARIES.prompt.encode().hex(),
        *(base64.b64encode(f"{before}{CANARIES.prompt}.".encode()) for before in ("", ".", "..", "...")),
        base64.urlsafe_b64encode(CANARIES.prompt.encode()),
    ],
)
def test_a_canary_is_found_however_it_is_written(text: str | bytes) -> None:
    assert CANARIES.found_in(text) == ["prompt"]


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.timeout(PROGRAM_SECONDS + 30)
def test_no_path_leaks_into_any_sink(tmp_path: Path) -> None:
    """Every fault of the registry, and what else a host's code may do, beside Sentry with all that it can send, all
    loggers at DEBUG, metrics, spans and audit; and with our hooks for Sentry."""
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        program = started(
            "tests.telemetry.faults.all_sinks",
            [],
            env=dict(os.environ),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        assert program.wait(PROGRAM_SECONDS) == 0, err.read_text()
    *written, last = out.read_text().splitlines()
    report = json.loads(last)
    assert report["leaks"] == []
    assert CANARIES.found_in("\n".join(written)) == []
    assert CANARIES.found_in(err.read_bytes()) == []
    assert report["ran"] == [str(one) for one in (*ALL_SCENARIOS, *of_hosts.SCENARIOS, *of_responses.SCENARIOS)]
    assert set(report["handed_on"]) == {f"internal-{name}" for name in of_hosts.HANDED_ON | of_responses.HANDED_ON}
    assert {sink: bool(report["counts"].get(sink)) for sink in SINKS} == dict.fromkeys(SINKS, True)


@pytest.mark.anyio
async def test_an_answer_that_is_well_leaks_nothing() -> None:
    with watching(configured=True) as watched:
        stage = Stage(CANARIES, ())
        await of_hosts.well(stage)
        watched.note("observations", *map(repr, stage.told.observations))
    assert watched.leaks(CANARIES) == []
