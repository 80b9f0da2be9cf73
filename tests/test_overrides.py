"""A host's own store whose methods do not take what the contract says: the guard refuses it when it is made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property, wraps
from typing import Any

import pytest
from starlette.requests import Request

from streamguard import ConfigurationError, StreamGuard
from streamguard.messages import MemoryMessageStore, MessageStore
from streamguard.overrides import check_overrides
from streamguard.quota import MemoryQuotaStore, Quota, QuotaService, QuotaStore
from streamguard.stores import RequestClaim, RequestClaims, StreamStore
from streamguard.stores.composed import ComposedStore
from streamguard.stores.memory import MemoryStore
from streamguard.stores.partial import PartialStore
from streamguard.testing import FaultyStore
from tests.web.serving import user_of

pytestmark = pytest.mark.anyio


def store_with(name: str, method: Callable[..., Any]) -> StreamStore:
    made: StreamStore = type("Mine", (MemoryStore,), {name: method})()
    return made


async def without_last(self: object, close: object, seal: object) -> object: ...


async def without_default(
    self: object, new: object, *, lease_seconds: float, ttl_seconds: float, limit: int | None, arrived_seconds: float
) -> object: ...


async def with_another(self: object, ref: object, retries: int) -> object: ...


async def is_async(self: object, worker: str, on_hint: object) -> object: ...


async def yields(self: object, worker: str, on_hint: object) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("name", "method", "said"),
    [
        (
            "seal_and_close",
            without_last,
            r"Mine.seal_and_close cannot be called as StreamWrites.seal_and_close\(close, seal, last=None\): too many",
        ),
        (
            "register",
            without_default,
            r"StreamRegistry.register\(.*\): missing a required.* argument: 'arrived_seconds'",
        ),
        ("request_stop", with_another, r"StreamRegistry.request_stop\(ref\): missing a required argument: 'retries'"),
        ("subscribe_worker", is_async, "subscribe_worker.*: it is async, and that is not"),
        ("subscribe_worker", yields, "subscribe_worker.*: it yields in an async function"),
        ("aclose", None, r"StoreService.aclose\(\): it is a NoneType"),
    ],
)
def test_a_stream_store_is_refused(name: str, method: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        StreamGuard(store_with(name, method), authenticate=user_of)


async def test_so_is_one_that_is_put_together_from_roles_if_one_of_them_is() -> None:
    class Claims(RequestClaims):
        async def claim_request(self, owner: str, request_key: str, claim: RequestClaim) -> RequestClaim:  # type: ignore[override]
            return claim

        async def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> bool:
            return True

    store = ComposedStore(replace(MemoryStore().roles, claims=Claims()))
    with pytest.raises(ConfigurationError, match=r"Claims.claim_request cannot be called as RequestClaims.claim_requ"):
        StreamGuard(store, authenticate=user_of)
    StreamGuard(ComposedStore(MemoryStore().roles), authenticate=user_of)


async def test_so_is_the_quota_store_that_a_stream_store_brings_along() -> None:
    class Counts(MemoryQuotaStore):
        async def reserve(self, ref: object) -> None:  # type: ignore[override]
            pass

    class Mine(PartialStore):
        def new_quota_store(self) -> QuotaStore:
            return Counts()

    guard = StreamGuard(Mine(MemoryStore()), authenticate=user_of)
    guard.stream("request.query_params.id", quota=Quota(10, "day", "requests"))(asking)
    with pytest.raises(ConfigurationError, match=r"Counts.reserve cannot be called as QuotaService.reserve"):
        async with guard:
            pass


async def asking(request: Request) -> AsyncIterator[str]:
    yield "one"


def test_so_are_a_message_store_and_a_quota_store() -> None:
    async def append(self: object, message: object) -> None: ...

    async def reserve(self: object, ref: object) -> None: ...

    messages: MessageStore = type("Rows", (MemoryMessageStore,), {"append": append})()
    quota: QuotaService = type("Counts", (MemoryQuotaStore,), {"reserve": reserve})()
    with pytest.raises(
        ConfigurationError, match=r"Rows.append cannot be called as MessageStore.append\(key, message\)"
    ):
        StreamGuard(authenticate=user_of, messages=messages)
    with pytest.raises(ConfigurationError, match=r"MessageStore.append"):
        StreamGuard(authenticate=user_of).stream(save=messages)(lambda request: iter(()))
    with pytest.raises(ConfigurationError, match=r"Counts.reserve cannot be called as QuotaService.reserve"):
        StreamGuard(authenticate=user_of, quota=quota)


async def any_way(*args: object, **kwargs: object) -> object: ...


async def other_names(self: object, a: object, b: object, c: object = None, *, mine: int = 0) -> object: ...


@asynccontextmanager
async def entered(self: object, worker: str, on_hint: object) -> AsyncIterator[None]:
    yield


def with_connection(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    async def called(self: object, *args: object, **kwargs: object) -> object:
        return await method(self, object(), *args, **kwargs)

    return called


@with_connection
async def given_a_connection(
    self: object, connection: object, close: object, seal: object, last: object = None
) -> object: ...


def of_another(self: Any) -> object:
    return self.connected_in_start.request_stop


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("seal_and_close", any_way),
        ("seal_and_close", given_a_connection),
        ("seal_and_close", other_names),
        ("seal_and_close", lambda self, *args: any_way(*args)),
        ("seal_and_close", staticmethod(any_way)),
        ("subscribe_worker", entered),
        ("request_stop", property(of_another)),
        ("request_stop", cached_property(of_another)),
        ("my_own", lambda: None),
        ("_seal", lambda: None),
        ("shared", False),
    ],
)
def test_what_can_be_called_is_not(name: str, method: Any) -> None:
    StreamGuard(store_with(name, method), authenticate=user_of)


@pytest.mark.parametrize("store", [MemoryStore(), PartialStore(MemoryStore()), FaultyStore(MemoryStore())])
def test_nor_is_one_of_ours(store: StreamStore) -> None:
    check_overrides(store)
