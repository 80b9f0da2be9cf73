"""What the outbox keeps of a save: it outlives the version that wrote it, and the settlement beside it."""

from __future__ import annotations

import pytest

from streamguard.messages import Message, Role
from streamguard.runtime.quotas.payload import add_settlement, read_settlement
from streamguard.runtime.saving.payload import OwedSave, read_payload, write_payload

QUESTION = Message("u1", Role.USER, ({"type": "text", "text": "?"},), metadata={"tone": "kind"}, replies_to="m0")


@pytest.mark.parametrize("replies_to", [None, "u1"])
@pytest.mark.parametrize("before", [(), (QUESTION,)])
def test_a_save_that_is_owed_comes_back(before: tuple[Message, ...], replies_to: str | None) -> None:
    alone = write_payload(before, replies_to)
    for payload in (alone, add_settlement(alone, None)):
        assert read_payload(payload) == OwedSave(before, replies_to, saves=True)
    assert not read_settlement(alone).settles
    both = read_settlement(add_settlement(alone, None))
    assert (both.saves, both.settles) == (True, True)


def test_a_settlement_alone_owes_no_save() -> None:
    payload = add_settlement(None, None)
    assert read_payload(payload) == OwedSave((), None, saves=False)
    assert (read_settlement(payload).saves, read_settlement(payload).settles) == (False, True)


def test_what_was_owed_before_replies_knew_their_questions_is_read() -> None:
    payload = b'{"v":1,"before":[{"id":"u1","role":"user","parts":[]}]}'
    assert read_payload(payload) == OwedSave((Message("u1", Role.USER, ()),), None, saves=True)
