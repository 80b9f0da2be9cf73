"""What the outbox keeps of a save: it outlives the version that wrote it, and the settlement beside it."""

from __future__ import annotations

import json

import pytest

from streamguard.charging.outbox_payload import add_settlement, read_settlement
from streamguard.messages import Message, Role
from streamguard.runtime import Revision
from streamguard.saving.outbox_payload import OutboxSave, read_payload, write_payload
from streamguard.saving.supersession import SupersedeRequest, Supersession

QUESTION = Message("u1", Role.USER, ({"type": "text", "text": "?"},), metadata={"tone": "kind"}, replies_to="m0")


@pytest.mark.parametrize("replies_to", [None, "u1"])
@pytest.mark.parametrize("before", [(), (QUESTION,)])
def test_a_save_that_is_owed_comes_back(before: tuple[Message, ...], replies_to: str | None) -> None:
    alone = write_payload(before, replies_to)
    for payload in (alone, add_settlement(alone, None)):
        assert read_payload(payload) == OutboxSave(before, replies_to, saves=True)
    assert not read_settlement(alone).settles
    both = read_settlement(add_settlement(alone, None))
    assert (both.saves, both.settles) == (True, True)


def test_a_settlement_alone_owes_no_save() -> None:
    payload = add_settlement(None, None)
    assert read_payload(payload) == OutboxSave((), None, saves=False)
    assert (read_settlement(payload).saves, read_settlement(payload).settles) == (False, True)


def test_what_was_owed_before_replies_knew_their_questions_is_read() -> None:
    payload = b'{"v":1,"user_messages":[{"id":"u1","role":"user","parts":[]}]}'
    assert read_payload(payload) == OutboxSave((Message("u1", Role.USER, ()),), None, saves=True)


@pytest.mark.parametrize(
    "asked", [None, SupersedeRequest("q1", None, with_message=True), SupersedeRequest(None, "q0", with_message=False)]
)
@pytest.mark.parametrize("kept", [None, (), ("q0", "a0")])
def test_what_is_still_to_be_superseded_is_kept(asked: SupersedeRequest | None, kept: tuple[str, ...] | None) -> None:
    edited = Message("q1", Role.USER, ({"type": "text", "text": "better"},))
    for superseding_id in ("q1", None):
        payload = write_payload(
            [edited],
            "q1",
            branch=3,
            supersession=Supersession(Revision("q1", kept), asked),
            superseding_id=superseding_id,
        )
        for read in (read_payload(payload), read_payload(add_settlement(payload, None))):
            assert (read.user_messages, read.replies_to, read.branch, read.superseding_id) == (
                (edited,),
                "q1",
                3,
                superseding_id,
            )
            assert read.supersession is not None
            assert (read.supersession.revision, read.supersession.request) == (Revision("q1", kept), asked)


@pytest.mark.parametrize(
    "damage",
    [
        {"branch": "3"},
        {"branch": True},
        {"supersedes": []},
        {"supersedes": {"start": "q1"}},
        {"supersedes": {"start": 1, "kept": None, "asked": None, "with": None}},
        {"supersedes": {"start": "q1", "kept": "q0", "asked": None, "with": None}},
        {"supersedes": {"start": "q1", "kept": None, "asked": ["q1"], "with": None}},
    ],
)
def test_damage_to_what_is_superseded_is_told(damage: dict[str, object]) -> None:
    whole = json.loads(write_payload([], branch=1, supersession=Supersession(Revision("q1"))))
    with pytest.raises(ValueError, match="payload"):
        read_payload(json.dumps({**whole, **damage}).encode())
