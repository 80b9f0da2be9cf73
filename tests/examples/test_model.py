"""The scripted model: the same prompt, the same answer; and the failures it plays."""

from __future__ import annotations

import runpy

import pytest

from .live import SHARED

pytestmark = pytest.mark.anyio

MODEL = runpy.run_path(str(SHARED / "model.py"))
answer, is_command, script, ModelBrokeError = (
    MODEL[name] for name in ("answer", "is_command", "script", "ModelBrokeError")
)
is_refused, settling_fails_ms, tokens_in, most_tokens = (
    MODEL[name] for name in ("is_refused", "settling_fails_ms", "tokens_in", "most_tokens")
)

PROMPTS = ["", "Hello", "hello", "東京 🌊", "a\nb", "\ud800", "x" * 10_000, "!", "!unknown", "!crash now"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_an_answer_is_whole_and_always_the_same(prompt: str) -> None:
    first, again = script(prompt, gap_seconds=0.03), script(prompt, gap_seconds=0.03)
    assert first == again
    assert 40 <= len(first.pieces) <= 200
    assert "".join(first.pieces).endswith("That is the end of this answer.")
    assert first.gap_seconds == 0.03
    assert first.ending == "end"
    assert not is_command(prompt)


def test_different_prompts_get_different_answers() -> None:
    assert len({script(prompt, gap_seconds=0).pieces for prompt in PROMPTS}) == len(PROMPTS)


def test_commands_shape_the_answer() -> None:
    assert [len(script(f"!long {number}", gap_seconds=0).pieces) for number in (1, 7, 5000)] == [1, 7, 5000]
    assert len(script("!long 0", gap_seconds=0).pieces) > 1
    assert script("!slow 250", gap_seconds=0).gap_seconds == 0.25
    assert len(script("!slow 250", gap_seconds=0).pieces) >= 40
    for prompt, ending in {"!crash": "crash", "!hang": "hang", "!error-first": "crash"}.items():
        assert is_command(prompt)
        assert script(prompt, gap_seconds=0).ending == ending
    assert script("!crash", gap_seconds=0).pieces
    assert script("!error-first", gap_seconds=0).pieces == ()


@pytest.mark.parametrize("prompt", [*PROMPTS, "!long", "!long 0", "!long 1234", "!crash", "!error-first", "!slow 5"])
def test_what_an_answer_takes_at_most_is_known_before(prompt: str) -> None:
    pieces = script(prompt, gap_seconds=0).pieces
    assert len(pieces) <= most_tokens(prompt)
    assert sum(map(tokens_in, pieces)) == len(pieces)


def test_commands_about_the_quota_are_told_apart() -> None:
    commands = ("!quota", "!quota-release-fail", "!quota-release-fail 70", "!quotas", "Hello")
    assert [is_refused(prompt) for prompt in commands] == [True, False, False, False, False]
    assert [settling_fails_ms(prompt) for prompt in commands] == [None, 6000, 70, None, None]
    assert [is_command(prompt) for prompt in commands] == [True, True, True, False, False]


async def test_it_breaks_after_its_pieces() -> None:
    said = answer("!crash", gap_seconds=0)
    for piece in script("!crash", gap_seconds=0).pieces:
        assert await anext(said) == piece
    with pytest.raises(ModelBrokeError):
        await anext(said)


async def test_it_says_everything_in_order() -> None:
    assert tuple([piece async for piece in answer("Hello", gap_seconds=0)]) == script("Hello", gap_seconds=0).pieces
