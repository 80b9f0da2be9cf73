"""What a soak does is drawn from its seed alone."""

from __future__ import annotations

from benchmarks.soak.plan import ENDPOINTS, chat_of

CHATS = 400


def test_a_seed_draws_the_same_chats_again() -> None:
    assert [chat_of(7, number) for number in range(50)] == [chat_of(7, number) for number in range(50)]
    assert chat_of(7, 0) != chat_of(8, 0)


def test_the_chats_of_a_seed_are_of_every_kind() -> None:
    turns = [turn for number in range(CHATS) for turn in chat_of(7, number).turns]
    assert {turn.question.path for turn in turns} == set(ENDPOINTS)
    for happens in ("request_key", "stop_after", "rival_after", "repeat_after", "pry_after"):
        often = sum(getattr(turn, happens) is not None for turn in turns)
        assert 0 < often < len(turns), happens
    readings = [reading for turn in turns for reading in (turn.asker, *turn.watchers)]
    for one in (True, False):
        assert any(reading.in_query is one for reading in readings)
        assert any(reading.in_stream is one for reading in readings)
        assert any(any(reading.forgets) is one for reading in readings)
        assert any(bool(reading.drops) is one for reading in readings)


def test_an_answer_ends_where_its_model_crashes() -> None:
    question = next(
        turn.question
        for number in range(CHATS)
        for turn in chat_of(7, number).turns
        if turn.question.crash_at is not None and turn.question.crash_at > 1
    )
    assert question.crash_at is not None
    assert question.answer == "".join(question.piece(number) for number in range(question.crash_at))
