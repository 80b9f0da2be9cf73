"""What arrives on a connection, in whatever pieces: replies that are nearly always the same are not parsed."""

from __future__ import annotations

import pytest

from streamguard.stores.redis.driver import RawConnection, Reply, Usual

USUAL = Usual(b"+OK\r\n+QUEUED\r\n", (b"OK", b"QUEUED"))
ANSWERS: dict[bytes, list[Reply]] = {
    b"+OK\r\n+QUEUED\r\n*1\r\n$3\r\n1-4\r\n": [b"OK", b"QUEUED", [b"1-4"]],
    b"+OK\r\n+QUEUED\r\n*-1\r\n": [b"OK", b"QUEUED", None],
    b"+NO\r\n+QUEUED\r\n:5\r\n": [b"NO", b"QUEUED", 5],
    b"+OK\r\n:1\r\n:2\r\n": [b"OK", 1, 2],
}


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_every_answer_is_read_alike_however_it_arrives(answer: bytes) -> None:
    for cut in range(len(answer)):
        connection, told = RawConnection(), list[Exception | None]()
        connection.expect(3, lambda _, error, told=told: told.append(error), USUAL)  # type: ignore[misc]
        for piece in (answer[:cut], answer[cut:]):
            assert told == []
            connection.data_received(piece)
        assert told == [None]
        assert connection.replies == ANSWERS[answer]


def test_only_what_comes_first_is_compared() -> None:
    connection, told = RawConnection(), list[Exception | None]()
    for _ in range(2):
        connection.expect(2, lambda _, error: told.append(error), USUAL)
        connection.data_received(USUAL.packed * 2)
        assert connection.replies == [*USUAL.replies] * 2
        connection.replies.clear()
    connection.expect(2, lambda _, error: told.append(error))
    connection.data_received(USUAL.packed)
    assert connection.replies == [*USUAL.replies]
    assert told == [None] * 3
