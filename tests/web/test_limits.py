from __future__ import annotations

import gc

import pytest

from streamguard import FaultCode, FaultError
from streamguard.web import limits
from streamguard.web.limits import ResumeRate, ViewerSlots


def test_viewers_are_counted_per_owner() -> None:
    slots = ViewerSlots(2)
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


def test_a_slot_whose_response_was_never_sent_is_given_back() -> None:
    slots = ViewerSlots(1)
    slots.take("ann")
    gc.collect()
    slots.take("ann").release()


def test_resumes_are_limited_per_owner_and_minute() -> None:
    now = 1000.0
    rate = ResumeRate(60, clock=lambda: now)
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
    monkeypatch.setattr(limits, "MAX_OWNERS", 10)
    rate = ResumeRate(1, clock=lambda: 0.0)
    for number in range(20):
        rate.spend(str(number))
    rate.spend("0")  # long unseen, so forgotten
    with pytest.raises(FaultError):
        rate.spend("19")
