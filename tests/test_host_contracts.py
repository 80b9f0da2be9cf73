"""How much a host has to write that brings a store or a service of its own."""

from __future__ import annotations

from abc import ABC

import pytest

from streamguard.messages import MessageStore
from streamguard.quota import QuotaService, QuotaStore

MOST_METHODS = 12


def methods(contract: type[ABC]) -> set[str]:
    """The public methods of a contract, those with a default included."""
    return {name for name in dir(contract) if not name.startswith("_") and callable(getattr(contract, name))}


@pytest.mark.parametrize(
    ("contract", "required", "all_in_all"), [(MessageStore, 7, 10), (QuotaService, 3, 5), (QuotaStore, 10, 12)]
)
def test_a_contract_has_at_most_twelve_methods(contract: type[ABC], required: int, all_in_all: int) -> None:
    assert len(contract.__abstractmethods__) == required
    assert len(methods(contract)) == all_in_all <= MOST_METHODS
