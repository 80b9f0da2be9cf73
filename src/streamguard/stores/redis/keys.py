"""Every Redis key and channel, built in one place.

Ids from outside (owners, sessions) reach no key: a digest stands for them, which is also the cluster hash tag, so
that all of a session's keys share a slot. The reference page `docs/reference/redis.md` lists the layout.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from binascii import b2a_base64
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple, TypedDict

from ...compact_json import compact_json
from ...decoding import decoding, read_json
from ...errors import StoreCorruptError
from ...values import SessionKey, StreamRef

__all__ = [
    "LEASE_SHARDS",
    "OUTBOX_SHARDS",
    "RESERVATION_SHARDS",
    "Keys",
    "SessionKeys",
    "StoredStreamKeys",
    "StreamKeys",
    "decode_member",
    "encode_member",
    "key_text",
]

LEASE_SHARDS: Final = 16
"""The lease index is split so that a cluster spreads it and no sorted set grows large."""

OUTBOX_SHARDS: Final = 16
"""The outbox, likewise."""

RESERVATION_SHARDS: Final = 16
"""As `quota.redis.reservation_index.SHARDS`; a test compares them."""

_CACHED_STREAMS: Final = 4096

_SIZE: Final = struct.Struct(">Q").pack
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class SessionKeys(NamedTuple):
    """The keys of one session. They are made when they are asked for: most are sent once or never, and the keys of
    every open stream are kept."""

    prefix: bytes
    """What all of them begin with."""

    @property
    def session(self) -> bytes:
        """Hash: the pointers and the ordinal counter."""
        return self.prefix + b"s"

    @property
    def streams(self) -> bytes:
        """Sorted set: the ids of its streams, by ordinal; what an erasure has to delete."""
        return self.prefix + b"i"

    @property
    def erased(self) -> bytes:
        """String: when the session was last erased."""
        return self.prefix + b"x"

    @property
    def stopped(self) -> bytes:
        """String: when its pending requests were stopped."""
        return self.prefix + b"p"

    @property
    def still(self) -> bytes:
        """Never written. A script that reaches keys which it does not name (the records of a session's streams) names
        this one: while a cluster moves the session's slot, which it does key by key, no server carries out such a
        script."""
        return self.prefix + b"q"

    @property
    def meta_prefix(self) -> bytes:
        """What the keys of its streams' records begin with; the stream id follows."""
        return self.prefix + b"m:"

    @property
    def log_prefix(self) -> bytes:
        """What the keys of its streams' logs begin with."""
        return self.prefix + b"l:"


class StoredStreamKeys(TypedDict):
    """The keys of a stream and of what lives as long as it does, as the scripts about them take them."""

    meta_key: bytes
    log_key: bytes
    session_key: bytes
    streams_key: bytes


class StreamKeys(NamedTuple):
    """The keys of one stream."""

    meta: bytes
    """Hash: the stream's record. Its channels are named after it."""
    log: bytes
    """Stream: the events."""
    of_session: SessionKeys
    lease_shard: bytes
    """Sorted set: the part of the lease index that it belongs to."""
    member: bytes
    """Its name as a member of an index; see `encode_member`."""

    @property
    def session(self) -> bytes:
        """See `SessionKeys`."""
        return self.of_session.session

    @property
    def streams(self) -> bytes:
        """See `SessionKeys`."""
        return self.of_session.streams

    @property
    def stored(self) -> StoredStreamKeys:
        """Those that last, by the names that the scripts give them."""
        return {
            "meta_key": self.meta,
            "log_key": self.log,
            "session_key": self.session,
            "streams_key": self.streams,
        }

    @property
    def control(self) -> bytes:
        """Channel: something other than the events changed."""
        return self.meta + b":c"

    @property
    def data(self) -> bytes:
        """Channel: the events of each append, while someone watches."""
        return self.meta + b":d"

    @property
    def watch_note(self) -> bytes:
        """String: until when a stream that is not registered yet is watched."""
        return self.meta + b":w"

    @property
    def withdrawn(self) -> bytes:
        """String: its registration was taken back, and is refused should it arrive only now."""
        return self.meta + b":r"


def _sized(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return _SIZE(len(raw)) + raw


def _base64(raw: bytes) -> bytes:
    """As `base64.urlsafe_b64encode`, in one call instead of four."""
    return b2a_base64(raw, newline=False).translate(_URL_SAFE)


def _spread(session: SessionKeys) -> int:
    """A number by which sessions are spread over the parts of an index."""
    return int.from_bytes(hashlib.blake2b(session.session, digest_size=2).digest(), "big")


class Keys:
    """The keys of one namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._prefix = f"{namespace}:{{".encode()
        self._named = _sized(namespace)
        # An instance's own caches: a method cache would keep every store alive.
        self.session: Callable[[SessionKey], SessionKeys] = lru_cache(_CACHED_STREAMS)(self._session)
        self.stream: Callable[[StreamRef], StreamKeys] = lru_cache(_CACHED_STREAMS)(self._stream)
        self.owner: Callable[[str], bytes] = lru_cache(_CACHED_STREAMS)(self._owner)
        self._lease_shards = [self._shard("lease", number) for number in range(LEASE_SHARDS)]

    def _digest(self, *texts: str) -> bytes:
        """22 characters that stand for the namespace and `texts`, 128 bits of them: equal only for equal texts."""
        digest = hashlib.blake2b(self._named, digest_size=16)
        for text in texts:
            digest.update(_sized(text))
        return _base64(digest.digest())[:22]

    def _session(self, key: SessionKey) -> SessionKeys:
        return SessionKeys(self._prefix + self._digest(key.owner, key.session_id) + b"}:")

    def _stream(self, ref: StreamRef) -> StreamKeys:
        session = self._session(ref.key)  # not kept twice: who has a stream's keys has these too
        stream_id = ref.stream_id.encode("utf-8", "surrogatepass")
        meta = session.meta_prefix + stream_id
        return StreamKeys(
            meta,
            session.log_prefix + stream_id,
            session,
            self._lease_shards[_spread(session) % LEASE_SHARDS],
            encode_member(ref),
        )

    def _owner(self, owner: str) -> bytes:
        """Sorted set: an owner's running streams by lease deadline."""
        return self._prefix + b"o." + self._digest(owner) + b"}"

    def stops(self, owner: str) -> bytes:
        """Sorted set: the sessions of an owner whose pending requests were stopped, by when that ends. It has the hash
        tag of `owner`, but for the letter."""
        return self._prefix + b"p" + self.owner(owner)[len(self._prefix) + 1 :]

    def lease_shard(self, ref: StreamRef) -> bytes:
        """Sorted set: the part of the lease index that `ref` belongs to."""
        return self.stream(ref).lease_shard

    def lease_shards(self) -> list[bytes]:
        """The whole lease index."""
        return [*self._lease_shards]

    def lease_shards_of(self, place: int, of: int) -> list[bytes]:
        """A part of the lease index: every `of`th shard, from `place` on; in part of a shard there are none."""
        return self.lease_shards()[place % of :: of]

    def workers(self) -> bytes:
        """Sorted set: the workers that share out the lease index, by when they stop counting."""
        return f"{self._namespace}:{{workers}}".encode()

    def worker(self, worker: str) -> bytes:
        """Channel: what one worker is told about the streams that it writes. Of no slot: it is for streams of all."""
        return f"{self._namespace}:w:{worker}".encode()

    def viewers(self) -> tuple[bytes, bytes]:
        """Sorted set: the workers that have viewers, by when their notes about them expire; and hash: the notes."""
        prefix = f"{self._namespace}:{{viewers}}".encode()
        return prefix, prefix + b":n"

    def worker_reports(self) -> tuple[bytes, bytes]:
        """Sorted set: workers by when their reports about themselves expire; and hash: the reports."""
        prefix = f"{self._namespace}:{{reports}}".encode()
        return prefix, prefix + b":n"

    def outbox_shard(self, ref: StreamRef) -> bytes:
        """Sorted set: the part of the outbox that `ref` belongs to."""
        return self._shard("outbox", _spread(self.session(ref.key)) % OUTBOX_SHARDS)

    def outbox_shards(self) -> list[bytes]:
        """The whole outbox."""
        return [self._shard("outbox", number) for number in range(OUTBOX_SHARDS)]

    def reservation_shards(self) -> list[bytes]:
        """The index of a quota's reservations, which `quota.redis.reservation_index` keeps beside the streams."""
        return [self._shard("quota", number) for number in range(RESERVATION_SHARDS)]

    def _shard(self, index: str, number: int) -> bytes:
        return f"{self._namespace}:{{{index}.{number}}}".encode()

    def request(self, owner: str, request_key: str) -> bytes:
        """String: which stream answers the owner's requests with one idempotency key."""
        return self._prefix + b"r." + self._digest(owner, request_key) + b"}"

    def gate(self, token: str) -> tuple[bytes, bytes]:
        """String: what a connection watches while it appends (see `append_gate`); and a key of another slot, which is
        never written."""
        return f"{self._namespace}:{{gate.{token}}}".encode(), f"{self._namespace}:{{gate.far.{token}}}".encode()

    def probe(self, number: int = 0) -> bytes:
        """String: what `ping` writes. In a cluster it writes at every server, each a key of another number."""
        return f"{self._namespace}:{{probe{number or ''}}}".encode()


def key_text(key: bytes) -> str:
    """A key as text, for people."""
    return key.decode("utf-8", "backslashreplace")


def encode_member(ref: StreamRef) -> bytes:
    """A stream's name as a member of an index: base64url of a JSON array, so that it can be read back."""
    return _base64(compact_json([ref.key.owner, ref.key.session_id, ref.stream_id]))


def decode_member(member: bytes) -> StreamRef:
    """What `encode_member` named.

    Raises:
        StoreCorruptError: it is no such member.
    """
    with decoding(
        lambda: StoreCorruptError("an index holds an entry this version cannot read", operation="expired_leases")
    ):
        owner, session_id, stream_id = read_json(base64.b64decode(member, b"-_", validate=True))
        if not (isinstance(owner, str) and isinstance(session_id, str) and isinstance(stream_id, str)):
            raise TypeError("ids are texts")
        return StreamRef(SessionKey(owner, session_id), stream_id)
