"""Values a host may put into a part, as Hypothesis draws them: JSON-like, and odd in every way we know."""

from __future__ import annotations

import math
from typing import Final
from uuid import UUID

from hypothesis import strategies as st

__all__ = ["odd_texts", "odd_values"]


def _nested(depth: int) -> object:
    value: object = None
    for _ in range(depth):
        value = [value]
    return value


def _cycle() -> object:
    value: list[object] = [1]
    value.append({"again": value})
    return value


odd_texts: Final = st.text(st.characters() | st.sampled_from('\ud83d\ude00\0\r\n\u2028[{"\\'), max_size=12)
"""Lone surrogates among them, and NUL."""

_ODD: Final = st.one_of(
    odd_texts,
    st.none(),
    st.booleans(),
    st.integers() | st.sampled_from([2**53, -(2**63), 10**400]),
    st.floats() | st.sampled_from([math.nan, math.inf, -0.0, 1e308, 5e-324]),
    st.binary(max_size=6),
    st.uuids() | st.dates() | st.decimals(places=2) | st.timedeltas(),
    st.builds(object) | st.builds(ValueError, st.just("secret")) | st.just(UUID),
    st.integers(1, 40_000).map(lambda size: "x" * size),
    st.integers(90, 1_500).map(_nested),
    st.builds(_cycle),
)
_KEYS: Final = (
    odd_texts | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.uuids() | st.binary()
)

odd_values: Final[st.SearchStrategy[object]] = st.recursive(
    _ODD,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_KEYS, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(odd_texts, max_size=1)
    ),
    max_leaves=8,
)
"""Any value; equal ones are normal in the same way."""
