"""Which clauses are tests of a subclass: what does not apply to its store is not collected, and so never skipped."""

from __future__ import annotations

import pytest

from streamguard.errors import MessageForbiddenError
from streamguard.messages import MemoryMessageStore, MessageStore, Opened
from streamguard.testing import MessageStoreSuite
from streamguard.values import SessionKey

EXPIRY = "test_a_session_nobody_writes_to_expires"
SHARED_ID = "test_owners_may_choose_the_same_session_id"
SHARED_IDS = {SHARED_ID, "test_owners_that_an_encoding_may_refuse_are_distinct_or_refused"}


class Keeping(MessageStoreSuite):
    pass


class Expiring(Keeping):
    ttl_seconds: float | None = 1.0


class KeepingAgain(Expiring):
    ttl_seconds: float | None = None


class ExpiringAgain(KeepingAgain):
    ttl_seconds = 2.0


class Global(Expiring):
    global_session_ids = True


class Own(MessageStoreSuite):
    """Answers for itself."""

    def test_a_session_nobody_writes_to_expires(self) -> None:  # type: ignore[override] # it is another test
        """Nothing in it expires."""


class OwnExpiring(Own):
    ttl_seconds = 1.0


class Unasked(Expiring):
    """Leaves out a clause in pytest's way."""

    test_owners_may_choose_the_same_session_id = None  # type: ignore[assignment] # what pytest documents


def collected(suite: type[MessageStoreSuite], request: pytest.FixtureRequest) -> set[str]:
    module = request.node.getparent(pytest.Module)
    assert module is not None
    return {item.name for item in pytest.Class.from_parent(module, name=suite.__name__).collect()}


@pytest.mark.parametrize(
    ("suite", "expiry", "shared_id"),
    [
        (Keeping, False, True),
        (Expiring, True, True),
        (KeepingAgain, False, True),
        (ExpiringAgain, True, True),
        (Global, True, False),
        (Own, True, True),
        (OwnExpiring, True, True),
        (Unasked, True, False),
    ],
)
def test_a_clause_that_does_not_apply_is_not_collected(
    request: pytest.FixtureRequest, suite: type[MessageStoreSuite], expiry: bool, shared_id: bool
) -> None:
    names = collected(suite, request)
    assert (EXPIRY in names, SHARED_ID in names) == (expiry, shared_id)


def test_what_applies_to_every_store_is_always_collected(request: pytest.FixtureRequest) -> None:
    about_expiry = collected(ExpiringAgain, request) - collected(Keeping, request)
    assert len(about_expiry) == 7
    assert all("expire" in name or "renews" in name for name in about_expiry)
    assert collected(Expiring, request) - collected(Global, request) == SHARED_IDS


def test_a_subclass_inherits_what_its_base_says_itself() -> None:
    assert OwnExpiring.test_a_session_nobody_writes_to_expires is Own.test_a_session_nobody_writes_to_expires


class FirstComeStore(MemoryMessageStore):
    """A session id belongs to the owner who was the first to choose it."""

    def __init__(self) -> None:
        super().__init__()
        self._owners: dict[str, str] = {}

    async def open_session(self, key: SessionKey) -> Opened:
        opened = await super().open_session(key)
        if self._owners.setdefault(key.session_id, key.owner) != key.owner:
            await super().delete_session(key)
            raise MessageForbiddenError("somebody else's session", operation="open_session")
        return opened


class TestStoreOfGlobalSessionIds(MessageStoreSuite):
    global_session_ids = True

    @pytest.fixture
    def store(self) -> MessageStore:
        return FirstComeStore()
