"""Quotas and amounts: what they may be, what is asked for, what is charged, and what headers say of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.errors import ConfigurationError, QuotaInvalidError
from streamguard.quota import Quota, RefusalReason, Standing, check_quotas, consumed, demand, rate_limit_headers
from streamguard.quota.limits import MAX_AMOUNT, ends_ms, index_at
from streamguard.quota.records import refusal

TOKENS, REQUESTS = Quota(limit=100_000, per="day", unit="tokens"), Quota(20, "minute", "requests")


def test_a_quota_says_what_it_is() -> None:
    assert (TOKENS.name, TOKENS.period_seconds, TOKENS.period_ms) == ("tokens-day", 86_400, 86_400_000)
    assert Quota(5, timedelta(seconds=90)).name == "tokens-90s"
    assert [Quota(1, per).period_seconds for per in ("second", "minute", "hour", "week")] == [1, 60, 3_600, 604_800]


@pytest.mark.parametrize("limit", [-1, 2**53, 2**63, True, 1.5, float("nan"), "100", None])
def test_a_limit_is_an_amount(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="limit"):
        Quota(limit, "day")


@pytest.mark.parametrize(
    "per",
    ["month", "", None, 60, [], timedelta(0), timedelta(seconds=-1), timedelta(seconds=1.5), timedelta(days=367)],
)
def test_a_period_is_one_of_a_few_or_whole_seconds(per: Any) -> None:
    with pytest.raises(ConfigurationError, match="period"):
        Quota(1, per)


@pytest.mark.parametrize("unit", ["", "Tokens", "to kens", "x" * 33, "1st", "tökens", None, "a:b", "tokens\n"])
def test_a_unit_is_a_word(unit: Any) -> None:
    with pytest.raises(ConfigurationError, match="unit"):
        Quota(1, "day", unit)


def test_one_quota_or_several_that_differ() -> None:
    assert check_quotas(TOKENS) == (TOKENS,)
    assert check_quotas([TOKENS, REQUESTS]) == (TOKENS, REQUESTS)
    wrong: tuple[Any, ...] = ([], [TOKENS, Quota(5, timedelta(days=1))], [TOKENS] * 9, ["tokens"])
    for quotas in wrong:
        with pytest.raises(ConfigurationError):
            check_quotas(quotas)


@given(period=st.sampled_from([1, 60, 90, 3_600, 86_400, 604_800]), at_ms=st.integers(0, 4_000_000_000_000))
def test_windows_follow_one_another_without_a_gap(period: int, at_ms: int) -> None:
    index = index_at(period * 1000, at_ms)
    end = ends_ms(period * 1000, index)
    assert end - period * 1000 <= at_ms < end
    assert index_at(period * 1000, end) == index + 1


def test_days_begin_at_midnight_and_weeks_on_mondays() -> None:
    at_ms = round(datetime(2026, 7, 23, 15, 4, 5, tzinfo=UTC).timestamp() * 1000)
    ends = {per: ends_ms(Quota(1, per).period_ms, index_at(Quota(1, per).period_ms, at_ms)) for per in ("day", "week")}
    assert datetime.fromtimestamp(ends["day"] / 1000, UTC) == datetime(2026, 7, 24, tzinfo=UTC)
    assert datetime.fromtimestamp(ends["week"] / 1000, UTC) == datetime(2026, 7, 27, tzinfo=UTC)


def test_every_reply_is_one_request_and_what_it_is_estimated_at() -> None:
    assert demand([REQUESTS]) == {"requests": 1}
    assert demand([TOKENS, REQUESTS], 500) == {"requests": 1, "tokens": 500}
    assert demand([TOKENS], {"tokens": 500, "requests": 3, "images": 2}) == {"tokens": 500}
    assert demand([TOKENS, REQUESTS], {"tokens": 0, "requests": 3}) == {"requests": 3, "tokens": 0}


@pytest.mark.parametrize(
    ("quotas", "estimate"),
    [
        ([TOKENS], None),
        ([TOKENS], {}),
        ([TOKENS], -1),
        ([TOKENS], True),
        ([TOKENS], 1.5),
        ([TOKENS], {"tokens": float("nan")}),
        ([TOKENS, Quota(1, "day", "images")], 5),
        ([REQUESTS], 5),
    ],
)
def test_an_estimate_is_an_amount_for_each_unit(quotas: list[Quota], estimate: Any) -> None:
    with pytest.raises(QuotaInvalidError) as caught:
        demand(quotas, estimate)
    assert caught.value.operation == "reserve"


@pytest.mark.parametrize(
    ("usage", "charged"),
    [
        (None, {}),
        ({}, {}),
        ({"tokens": 7, "total_tokens": 8, "input_tokens": 9}, {"tokens": 7}),
        ({"total_tokens": 8, "input_tokens": 9}, {"tokens": 8}),
        ({"input_tokens": 9, "output_tokens": 2}, {"tokens": 11}),
        ({"output_tokens": 2, "images": 1}, {"tokens": 2}),
        ({"input_tokens": MAX_AMOUNT, "output_tokens": 2, "requests": 3}, {"tokens": MAX_AMOUNT, "requests": 3}),
    ],
)
def test_usage_says_what_was_consumed(usage: dict[str, int] | None, charged: dict[str, int]) -> None:
    assert consumed(["requests", "tokens"], usage) == charged


def test_the_quota_that_is_in_the_way_longest_is_named() -> None:
    held = Standing(REQUESTS, used=0, reserved=20, resets_in_seconds=40)
    spent = Standing(TOKENS, used=99_990, reserved=0, resets_in_seconds=7_000)
    found = refusal([held, spent], {"requests": 1, "tokens": 20})
    assert found is not None
    assert (found.reason, found.quota, found.retry_after_seconds) == (RefusalReason.SPENT, TOKENS, 7_000)
    found = refusal([held, spent], {"requests": 1, "tokens": 10})
    assert found is not None
    assert (found.reason, found.quota, found.retry_after_seconds) == (RefusalReason.HELD, REQUESTS, 5)
    found = refusal([spent, held], {"requests": 21, "tokens": 20})
    assert found is not None
    assert (found.reason, found.quota, found.retry_after_seconds) == (RefusalReason.TOO_LARGE, REQUESTS, None)


def test_headers_say_what_is_left_of_each_quota() -> None:
    standings = (
        Standing(TOKENS, used=99_000, reserved=500, resets_in_seconds=3_599.1),
        Standing(REQUESTS, used=25, reserved=0, resets_in_seconds=0.001),
        Standing(Quota(MAX_AMOUNT, "week", "images"), used=0, reserved=0, resets_in_seconds=60),
    )
    assert rate_limit_headers(standings) == [
        (
            "RateLimit-Policy",
            '"tokens-day";q=100000;w=86400, "requests-minute";q=20;w=60, "images-week";q=999999999999999;w=604800',
        ),
        (
            "RateLimit",
            '"tokens-day";r=500;t=3600, "requests-minute";r=0;t=1, "images-week";r=999999999999999;t=60',
        ),
    ]
    assert rate_limit_headers([]) == []
