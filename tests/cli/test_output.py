"""What is printed harms no terminal, and numbers are for people."""

from __future__ import annotations

import ast
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.cli.exits import CommandError, ExitCode
from streamguard.cli.output import Output, count, duration, safe, size, table


@given(st.text(max_size=50))
def test_nothing_that_a_terminal_acts_upon_passes(text: str) -> None:
    assert safe(text).isprintable()


@given(st.text(st.characters(codec=None), max_size=50))
def test_what_is_escaped_can_be_told_from_what_is_not(text: str) -> None:
    quoted = safe(text).replace("'", "\\'")
    assert ast.literal_eval(f"'{quoted}'") == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("chat-1", "chat-1"),
        ("é 😀", "é 😀"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\r\nb", "a\\r\\nb"),
        ("\u202eevil", "\\u202eevil"),
        ("back\\slash", "back\\\\slash"),
        ("\ud800", "\\ud800"),
    ],
)
def test_ids_are_shown_escaped(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_long_ids_are_cut() -> None:
    assert safe("x" * 256, limit=10) == "x" * 9 + "…"
    assert safe("x" * 10, limit=10) == "x" * 10
    assert len(safe("\x1b" * 256, limit=10)) == 10


def test_markup_in_ids_is_shown_as_it_is() -> None:
    file = io.StringIO()
    output = Output(as_json=False, file=file)
    output.show(table(("SESSION",), [("[red]x[/red] :smile: [link=https://example.org]y[/link]",)]))
    output.line("[bold]z[/bold]")
    output.pairs({"session": "[blink]w\x1b[0m"})
    assert "[red]x[/red] :smile: [link=" in file.getvalue()
    assert "[bold]z[/bold]" in file.getvalue()
    assert "session  [blink]w\\x1b[0m" in file.getvalue()
    assert "\x1b" not in file.getvalue()


def test_objects_are_a_line_of_ascii_each() -> None:
    file = io.StringIO()
    output = Output(as_json=True, file=file)
    output.value({"session_id": "\x1b[31m\u2028é"})
    output.failure(CommandError(ExitCode.NOT_FOUND, "not_found", "no \x1b"))
    first, second = file.getvalue().splitlines()
    assert first.isascii()
    assert "\x1b" not in first
    assert json.loads(first) == {"session_id": "\x1b[31m\u2028é"}
    assert json.loads(second) == {"error": {"code": "not_found", "message": "no \x1b"}}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0.0, "0.0s"),
        (0.44, "0.4s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (185, "3m05s"),
        (7_800, "2h10m"),
        (90_000, "1d01h"),
        (-12.3, "-12s"),
    ],
)
def test_durations_are_short(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (999, "999 B"), (1_200, "1.2 kB"), (3_400_000, "3.4 MB"), (5 * 10**12, "5000.0 GB")],
)
def test_sizes_are_short(number: int, shown: str) -> None:
    assert size(number) == shown


def test_one_is_singular() -> None:
    assert (count(1, "stream"), count(0, "stream")) == ("1 stream", "0 streams")
