"""The one place in which a soak reads ids."""

from __future__ import annotations

from benchmarks.soak.places import Place, place_of_cursor, place_of_entry, stream_of_cursor

from streamguard.cursor import Cursor
from streamguard.values import new_stream_id


def test_the_packages_own_cursors_are_read() -> None:
    stream_id = new_stream_id()
    fields = {"stream_id": stream_id, "seq": 12} | ({"epoch": 3} if "epoch" in Cursor.__dataclass_fields__ else {})
    cursor = str(Cursor(**fields))  # type: ignore[arg-type] # as many fields as a cursor has
    place = place_of_cursor(cursor)
    assert place is not None
    assert place.seq == 12
    assert stream_of_cursor(cursor) == stream_id


def test_what_is_no_id_of_ours_has_no_place() -> None:
    for text in ("", "1", "1.x.2", "2.0123456789abcdef01234567.1.1", "12"):
        assert place_of_cursor(text) is None
        assert stream_of_cursor(text) is None
    assert place_of_entry("12") is None
    assert place_of_entry("7-12") == Place(7, 12)
