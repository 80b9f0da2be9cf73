"""A scripted model: the same prompt always gives the same answer, so failures and resumes can be compared.

Prompts that start with `!` provoke failures: `!crash`, `!hang`, `!long N`, `!error-first`, `!slow N`. Those about
saving, `!persist-fail`, `!persist-flaky` and `!persist-slow N`, get an ordinary answer; see `chats`. So does
`!quota-release-fail N`, and so would `!quota`, which never gets here; see `allowance`.

A piece is a token.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import count, islice

import anyio

OPENINGS = (
    "A stream is a promise kept one piece at a time.",
    "Think of a letter that is read aloud while it is still being written.",
    "Every answer has a beginning, a middle and, if all goes well, an end.",
    "Water finds its way around a stone; a stream finds its way around a lost connection.",
)
SENTENCES = (
    "Each piece is **written down before it is sent**, so nothing you have seen can be forgotten.",
    "When the page reloads, the reader returns with a *bookmark* and goes on from there.",
    "The writer does not stop because one reader left the room.",
    "Two readers of the same answer see the same words in the same order – *déjà vu*, by design.",
    "If the end never comes, somebody notices, and says so.",
    "Silence is not an ending; an ending is **written down** like everything else.",
    "A half answer is shown as a half answer, never as a whole one.",
    "Whoever presses `Stop` decides, and the decision reaches every worker.",
    "Ordinary text goes through untouched: 東京, Ω, <b>tags</b>, “quotes” and even 🌊.",
    "What was lost is [counted](/metrics/); what was kept is repeated word for word.",
)
CODE = "```python\nasync for piece in model:\n    await log.append(piece)  # first\n    yield piece  # then\n```"
HEADING = "### How it keeps its word"
CLOSING = "That is the end of this answer."

_COMMAND = re.compile(
    r"!(crash|hang|error-first|long|slow|persist-(?:fail|flaky|slow)|quota|quota-release-fail)(?:\s+(\d{1,6}))?\s*"
)
_MAX_PIECES = 100_000
_MIN_PIECES = 90
_MAX_USUAL_PIECES = 200
_RELEASE_FAIL_MILLISECONDS = 6000


class ModelBrokeError(Exception):
    """What the scripted model raises; its text stands for a provider's words, which no client may ever see."""

    status_code = 500
    """As clients of real providers have it: by this it is told from a mistake in this application."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a prompt makes the model do: its pieces, seconds between them, and what happens after the last."""

    pieces: tuple[str, ...]
    gap_seconds: float
    ending: str = "end"
    """`end`, `crash` or `hang`."""


def is_command(prompt: str) -> bool:
    """Whether `prompt` is one of the `!…` commands."""
    return _COMMAND.fullmatch(prompt) is not None


def is_refused(prompt: str) -> bool:
    """Whether `prompt` asks to be refused as if nothing were left of the day's tokens."""
    command = _COMMAND.fullmatch(prompt)
    return command is not None and command[1] == "quota"


def settling_fails_ms(prompt: str) -> int | None:
    """For how many milliseconds `prompt` asks that its answer cannot be settled; None if it does not."""
    command = _COMMAND.fullmatch(prompt)
    if command is None or command[1] != "quota-release-fail":
        return None
    return int(command[2] or _RELEASE_FAIL_MILLISECONDS)


def tokens_in(text: str) -> int:
    """How many tokens `text` is counted as."""
    return len(_split(text))


def most_tokens(prompt: str) -> int:
    """How many tokens the answer to `prompt` has at most; known without writing it."""
    command = _COMMAND.fullmatch(prompt)
    return _MAX_USUAL_PIECES if command is None or command[1] != "long" else _long(int(command[2] or 0))


def script(prompt: str, *, gap_seconds: float) -> Script:
    """The script for `prompt`; equal prompts give equal scripts. `gap_seconds` is the usual pause between pieces."""
    command = _COMMAND.fullmatch(prompt)
    if command is None:
        return Script(tuple(_answer(prompt)), gap_seconds)
    name, number = command[1], int(command[2] or 0)
    if name == "crash":
        return Script(tuple(islice(_words(prompt), 12)), gap_seconds, ending="crash")
    if name == "hang":
        return Script(tuple(islice(_words(prompt), 12)), gap_seconds, ending="hang")
    if name == "error-first":
        return Script((), gap_seconds, ending="crash")
    if name == "long":
        return Script(tuple(islice(_words(prompt), _long(number))), gap_seconds)
    if name == "slow":
        return Script(tuple(_answer(prompt)), (number or 500) / 1000)
    return Script(tuple(_answer(prompt)), gap_seconds)


async def answer(prompt: str, *, gap_seconds: float) -> AsyncIterator[str]:
    """The scripted model's answer, piece by piece.

    Raises:
        ModelBrokeError: the prompt asked for it.
    """
    plan = script(prompt, gap_seconds=gap_seconds)
    for piece in plan.pieces:
        yield piece
        await anyio.sleep(plan.gap_seconds)
    if plan.ending == "crash":
        raise ModelBrokeError("upstream said: tenant 4711, key sk-secret, node 10.0.0.7")
    if plan.ending == "hang":
        await anyio.sleep_forever()


def _long(number: int) -> int:
    """How many pieces `!long` has, with a number or with 0 for none."""
    return min(number or 500, _MAX_PIECES)


def _answer(prompt: str) -> Iterator[str]:
    """A whole answer: at least `_MIN_PIECES` pieces, whole sentences, and an ending that says so."""
    for number, piece in enumerate(_words(prompt), start=1):
        yield piece
        if number >= _MIN_PIECES and piece.endswith("."):
            break
    yield from _split(f"\n\n{CLOSING}")


def _words(prompt: str) -> Iterator[str]:
    """An endless answer in Markdown: an opening and some code, then a heading, a list and two paragraphs of sentences
    round after round, each round in an order of its own."""
    quoted = " ".join(prompt.split())[:60]
    opening = _ordered(OPENINGS, prompt, 0)[0]
    yield from _split(f"You said “{quoted}”. {opening}" if quoted else opening)
    yield from _split(f" In code:\n\n{CODE}")
    for turn in count(1):
        yield from _split(f"\n\n{HEADING}\n")
        for number, sentence in enumerate(_ordered(SENTENCES, prompt, turn)):
            if number < 4:
                yield from _split(f"\n- {sentence}")
            else:
                yield from _split(("\n\n" if number % 3 == 1 else " ") + sentence)


def _ordered(sentences: tuple[str, ...], prompt: str, turn: int) -> list[str]:
    """The sentences in an order that depends on nothing but the prompt and the turn."""
    return sorted(
        sentences,
        key=lambda sentence: hashlib.sha256(f"{turn}:{prompt}:{sentence}".encode(errors="surrogatepass")).digest(),
    )


def _split(text: str) -> list[str]:
    """Pieces the way models send them: a word with the space before it."""
    return re.findall(r"\s*\S+", text)
