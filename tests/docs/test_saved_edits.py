"""The function on the page about keeping messages forgets what was superseded, and nothing else, however often it is
called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from streamguard.messages import CallableSaver, MessageToSave, Save, Supersedes
from streamguard.testing._message_store.steps import asked, replied
from streamguard.values import SessionKey

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "keep-messages.md"
KEY = SessionKey("ann", "chat")


@pytest.fixture
def chats() -> tuple[Save, dict[SessionKey, dict[str, str]]]:
    """The function, and where it keeps what it is given."""
    (code,) = re.findall(r"^```python\n(CHATS:.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"SessionKey": SessionKey, "MessageToSave": MessageToSave}
    exec(compile(code, str(PAGE), "exec"), names)
    return names["save_edits"], names["CHATS"]


async def test_the_documented_function_replaces_what_followed_once(
    chats: tuple[Save, dict[SessionKey, dict[str, str]]],
) -> None:
    save, rows = chats
    saver = CallableSaver(save)
    for number in (1, 2):
        await saver.append(KEY, asked(f"question {number}", message_id=f"q{number}"))
        await saver.append(KEY, replied(f"answer {number}", message_id=f"a{number}"))
    edited, edit = asked("better", message_id="q2"), Supersedes("s3", "q2", "a1")
    await saver.append(KEY, edited, supersedes=edit)
    await saver.append(KEY, replied("answer 3", message_id="a3"))
    await saver.append(KEY, edited, supersedes=edit)  # a retry, of which the reply to the first was lost
    assert list(rows[KEY].values()) == ["question 1", "answer 1", "better", "answer 3"]
    await saver.append(KEY, replied("answer 4", message_id="a4"), supersedes=Supersedes("s4", "owed", "q2"))
    assert list(rows[KEY].values()) == ["question 1", "answer 1", "better", "answer 4"]
    await saver.append(KEY, asked("anew", message_id="q1"), supersedes=Supersedes("s5", "q1", None))
    assert list(rows[KEY].values()) == ["anew"]


async def test_a_save_that_is_repeated_after_an_edit_undoes_nothing(
    chats: tuple[Save, dict[SessionKey, dict[str, str]]],
) -> None:
    save, rows = chats
    saver, question = CallableSaver(save), asked("why?", message_id="q1")
    await saver.append(KEY, question)  # committed, though the reply was lost
    await saver.append(KEY, asked("how?", message_id="q1"), supersedes=Supersedes("s2", "q1", None))
    await saver.append(KEY, question)
    assert list(rows[KEY].values()) == ["how?"]
