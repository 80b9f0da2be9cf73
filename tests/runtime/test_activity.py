"""The times of a stream, as the watchdog asks for them."""

from __future__ import annotations

from streamguard.runtime.producing.activity import Activity


def test_an_endpoint_that_answers_late_has_its_whole_time_for_the_first_item() -> None:
    now = 100.0
    activity = Activity(opened_at=now, clock=lambda: now, first_item_seconds=3_600.0)
    now = 500.0
    assert activity.silent_seconds(now, held_back=False) == 400.0
    activity.answered(60.0)
    assert (activity.silent_seconds(510.0, held_back=False), activity.first_item_seconds) == (10.0, 60.0)
