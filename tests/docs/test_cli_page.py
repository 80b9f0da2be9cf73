"""The command line's page shows what the commands really say, and names every field, option and status."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from streamguard.cli.app import app
from streamguard.cli.exits import ExitCode
from streamguard.cli.shapes import entry_shape, message_shapes, stream_shape
from streamguard.saving.outbox_payload import write_payload
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import OutboxEntry
from streamguard.testing._stream_store.steps import begin, meta

from .cli_examples import PAGE, PAGES, examples_in_page, run_examples, without_chance


@pytest.mark.slow
def test_the_examples_are_what_the_commands_say() -> None:
    said = run_examples()
    assert {name for page in PAGES for name in examples_in_page(page)} == set(said)
    for page in PAGES:
        for name, text in examples_in_page(page).items():
            assert without_chance(text) == without_chance(said[name]), "run: python -m tests.docs.cli_examples"


@pytest.mark.anyio
async def test_every_field_of_an_object_is_documented() -> None:
    page = PAGE.read_text()
    store = MemoryStore()
    ref = await begin(store)
    stream = stream_shape(await meta(store, ref), owners=True)
    owed = OutboxEntry(ref, write_payload([]), 0, 0.0, None, False)
    entry = entry_shape(owed, owners=True)
    for field in {*stream, *entry}:
        assert f"`{field}`" in page, field
    assert message_shapes(replace(owed, payload=b"{}")) is None


@pytest.mark.parametrize(
    "command",
    [
        ["doctor"],
        ["ps"],
        ["show"],
        ["stop"],
        ["reconcile"],
        ["outbox", "list"],
        ["outbox", "show"],
        ["outbox", "replay"],
        ["outbox", "discard"],
        ["quota", "show"],
        ["quota", "release"],
    ],
    ids=" ".join,
)
def test_every_option_is_documented(command: list[str]) -> None:
    page = PAGE.read_text()
    assert f"## `streamguard {' '.join(command)}`" in page or f"### `streamguard {' '.join(command)}`" in page
    said = CliRunner().invoke(app, [*command, "--help"]).output
    options = set(re.findall(r"(?<![\w-])--[a-z-]+", said)) - {"--help"}
    assert options
    for option in options:
        assert f"`{option}" in page, option


def test_every_status_is_documented() -> None:
    page = PAGE.read_text()
    for code in ExitCode:
        assert f"| {code.value} |" in page


def test_samples_of_objects_are_objects() -> None:
    for sample in re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        json.loads(sample)
