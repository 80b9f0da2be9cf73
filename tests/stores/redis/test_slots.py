"""Which keys a call names: of a cluster, one command may name keys of one slot alone."""

from __future__ import annotations

from typing import Any

import pytest
from redis.crc import key_slot

from streamguard.lua import Call
from streamguard.messages.redis import calls as message_calls
from streamguard.quota.redis import calls as quota_calls
from streamguard.quota.redis.store import RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.stores.redis import index_calls, report_calls, session_calls, stream_calls
from streamguard.stores.redis.keys import Keys
from streamguard.values import SessionKey, StreamRef

KEYS = Keys("ns")
REF = StreamRef(SessionKey("owner", "session"), "0" * 24)
_LEDGER = dict(
    zip(
        ("ledger_key", "records_key", "open_key", "done_key"),
        RedisQuotaStore(RedisClient("redis://localhost"))._keys("owner"),
        strict=True,
    )
)
NAMED: dict[str, bytes] = {
    **KEYS.stream(REF).stored,  # type: ignore[dict-item] # all of them are bytes
    **_LEDGER,
    "watch_note_key": KEYS.stream(REF).watch_note,
    "withdrawn_key": KEYS.stream(REF).withdrawn,
    "erased_key": KEYS.session(REF.key).erased,
    "stopped_key": KEYS.session(REF.key).stopped,
    "still_key": KEYS.session(REF.key).still,
    "owner_key": KEYS.owner("owner"),
    "stops_key": KEYS.stops("owner"),
    "shard_key": KEYS.lease_shard(REF),
    "index_key": KEYS.lease_shard(REF),
    "lease_shard_key": KEYS.lease_shard(REF),
    "outbox_shard_key": KEYS.outbox_shard(REF),
    "claim_key": KEYS.request("owner", "request"),
    "probe_key": KEYS.probe(),
}
"""Every key that a call of ours names, as it could be; those of `AMONG_WORKERS` are named alike and differ."""
AMONG_WORKERS = {
    "report_viewers": KEYS.viewers(),
    "viewer_counts": KEYS.viewers(),
    "report_worker": KEYS.worker_reports(),
    "worker_reports": KEYS.worker_reports(),
    "partition": (KEYS.workers(),),
}
CALLS: list[type[Call[Any]]] = [
    *stream_calls.CALLS,
    *session_calls.CALLS,
    *index_calls.CALLS,
    *report_calls.CALLS,
    *quota_calls.CALLS,
    *message_calls.CALLS,
]
FAR = {
    "register": ("owner_key", "stops_key", "lease_shard_key"),
    "withdraw": ("lease_shard_key", "owner_key"),
    "close": ("lease_shard_key", "owner_key"),
    "declare_lost": ("lease_shard_key",),
    "complete": ("outbox_shard_key",),
    "stop_pending_requests": ("stops_key",),
    "erase": ("stops_key",),
}
"""The scripts that take keys of other slots as well, for one server alone."""


def _slots(call: type[Call[Any]]) -> set[int]:
    if call.script in AMONG_WORKERS:
        return {key_slot(key) for key in AMONG_WORKERS[call.script]}
    return {key_slot(NAMED[name]) for name in call.key_names if name not in call.far_key_names}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.script)
def test_the_keys_of_a_script_are_of_one_slot(call: type[Call[Any]]) -> None:
    """For a cluster: those of other slots are left out there (see `FarKey`)."""
    assert len(_slots(call)) == 1
    assert call.far_key_names == FAR.get(call.script, ())


def test_every_script_that_takes_keys_of_other_slots_is_known() -> None:
    assert {call.script for call in CALLS if call.far_key_names} == set(FAR)
    for call in CALLS:
        if call.far_key_names:
            (slot,) = _slots(call)
            assert all(key_slot(NAMED[name]) != slot for name in call.far_key_names), "else it need not be far"


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.script)
def test_a_script_that_reaches_keys_that_it_does_not_name_waits_for_a_slot_that_moves(call: type[Call[Any]]) -> None:
    """It names one that is nowhere: then neither of two servers, each with some keys of the slot, carries it out."""
    nowhere = {"still_key", "watch_note_key", "withdrawn_key"} & set(call.key_names)
    assert nowhere or not {"meta_prefix", "log_prefix"} & set(call.argument_names)
