from __future__ import annotations

import gc

import pytest

from streamguard import FaultCode, FaultError
from streamguard.web.access import rate_limit
from streamguard.web.access.rate_limit import RateLimit
from streamguard.web.access.slots import SlotPool


def viewer_slots(each: int, total: int | None = None) -> SlotPool:
    return SlotPool(FaultCode.LIMIT_VIEWERS, each=each, each_setting="each", total=total, total_setting="total")


def test_viewers_are_counted_per_owner() -> None:
    slots = viewer_slots(2)
    held = [slots.take("ann"), slots.take("ann")]
    with pytest.raises(FaultError) as refused:
        slots.take("ann")
    assert refused.value.fault.code is FaultCode.LIMIT_VIEWERS
    assert refused.value.fault.retry_after_seconds
    slots.take("eve").release()
    held[0].release()
    held[0].release()
    held.append(slots.take("ann"))
    with pytest.raises(FaultError):
        slots.take("ann")


@pytest.mark.long
def test_a_slot_whose_response_was_never_sent_is_given_back() -> None:
    slots = viewer_slots(1)
    slots.take("ann")
    gc.collect()
    slots.take("ann").release()


def test_resumes_are_limited_per_owner_and_minute() -> None:
    now = 1000.0
    rate = RateLimit(60, setting="a_setting", clock=lambda: now)
    for _ in range(60):
        rate.spend("ann")
    with pytest.raises(FaultError) as refused:
        rate.spend("ann")
    assert refused.value.fault.code is FaultCode.LIMIT_RATE
    assert refused.value.fault.retry_after_seconds == 1
    rate.spend("eve")
    now += 1.0
    rate.spend("ann")
    with pytest.raises(FaultError):
        rate.spend("ann")
    now += 3600.0
    for _ in range(60):
        rate.spend("ann")


def test_the_memory_of_a_rate_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_NAMES", 10)
    rate = RateLimit(1, setting="a_setting", clock=lambda: 0.0)
    for number in range(20):
        rate.spend(str(number))
    rate.spend("0")  # long unseen, so forgotten
    with pytest.raises(FaultError):
        rate.spend("19")


def test_everybody_together_has_so_many_places() -> None:
    slots = viewer_slots(2, total=3)
    held = [slots.take("ann"), slots.take("ann"), slots.take("eve")]
    with pytest.raises(FaultError) as refused:
        slots.take("bob")
    assert (refused.value.fault.status, refused.value.fault.reason) == (503, "total")
    assert refused.value.fault.retry_after_seconds
    with pytest.raises(FaultError) as refused:
        slots.take("ann")
    assert (refused.value.fault.status, refused.value.fault.reason) == (429, "each")
    held[2].release()
    slots.take("bob").release()
    assert slots.count == 2


def test_looking_whether_one_more_is_allowed_counts_nothing() -> None:
    rate = RateLimit(1, setting="a_setting", clock=lambda: 0.0)
    for _ in range(3):
        rate.check("ann")
    assert len(rate) == 0
    rate.spend("ann")
    with pytest.raises(FaultError) as refused:
        rate.check("ann")
    assert (refused.value.fault.reason, refused.value.fault.retry_after_seconds) == ("a_setting", 60)
