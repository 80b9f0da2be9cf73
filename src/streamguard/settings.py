"""Every setting of streamguard. A number has its unit in its name."""

from __future__ import annotations

import os
import re
from typing import Annotated, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .durations import MAX_SECONDS
from .errors import ConfigurationError

__all__ = ["ENVIRONMENTS", "Settings", "with_debug"]

ENVIRONMENTS: Final = ("ENVIRONMENT", "ENV", "APP_ENV", "PYTHON_ENV", "FASTAPI_ENV", "FLASK_ENV", "SENTRY_ENVIRONMENT")
"""Environment variables in which deployments name themselves."""

Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Bytes = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]

_WEB_ORIGIN: Final = re.compile(r"https?://[^/\\\s*?#@A-Z\u0080-\U0010ffff]+")
_APP_ORIGIN: Final = re.compile(r"(?!https?:)[a-z][a-z0-9+.-]*://[^/\\\s*?#@]+|file://")
"""Of an extension, or of a page that an app brings with it: their hosts keep their capitals."""
_WRITTEN_PORT: Final = re.compile(r"https://.*:443|http://.*:80")
"""Browsers leave out the scheme's own port."""


class Settings(BaseModel):
    """Times are in seconds, of a hundred years at most, and sizes in bytes. Immutable; the constructor refuses wrong
    combinations.

    Raises:
        pydantic.ValidationError: a value is out of range, unknown, or contradicts another.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")] = "streamguard"
    """Prefix of every Redis key, so that applications can share a Redis."""

    lease_seconds: Seconds = 15.0
    """How long a silent writer keeps its stream before another worker may take it over."""
    heartbeat_seconds: Seconds = 5.0
    """How often a writer renews its leases; at most half of `lease_seconds`."""
    sweep_seconds: Seconds = 5.0
    """How often a worker looks for streams whose lease ran out."""
    keep_alive_seconds: Seconds = 15.0
    """How often a quiet connection gets an SSE comment, give or take half a second."""

    registration_seconds: Seconds = 0.5
    """How long a request waits for a silent store in all, before its stream runs unlogged (or fails). Calls of a quota
    on the same server count too."""
    append_deadline_seconds: Seconds = 2.0
    """How long an event waits for its append before its stream goes on from memory (or fails). The first event of a
    stream waits for a silent store no longer than `registration_seconds`."""
    command_seconds: Seconds = 1.0
    """How long one store round trip may take before it counts as failed and is retried."""

    save_visible_seconds: Seconds = 3.0
    """How long closing parts wait for the save before they are sent with `persisted: pending`."""
    save_total_seconds: Seconds = 30.0
    """How long one attempt at saving, retries included, may take."""
    save_attempt_seconds: Seconds = 10.0
    """How long one call of a message store may take before it counts as failed and is retried."""
    outbox_seconds: Seconds = 5.0
    """How often a worker looks for saves in the outbox."""
    outbox_retry_seconds: Seconds = 5.0
    """How long a failed save in the outbox waits for its next attempt. The wait doubles each time."""
    outbox_max_retry_seconds: Seconds = 3600.0
    """The longest wait between two attempts at a save in the outbox."""

    quota_seconds: Seconds = 1.0
    """How long one call of a quota may take before it counts as failed. A failed reservation is refused
    (`quota_unavailable`), a failed settlement is retried. A reservation on the streams' own server has
    `registration_seconds` instead."""
    settle_visible_seconds: Seconds = 2.0
    """How long a stream's end waits for its settlement, retries included, before it is sent with `quota: pending`."""

    headers_after_seconds: Seconds = 5.0
    """How long a response waits for the first item before it sends status 200 and keep-alives. Later failures are sent
    inside the stream."""
    first_item_seconds: Seconds = 60.0
    """How long an endpoint may take to yield its first item before its stream fails (`provider_timeout`)."""
    stall_seconds: Seconds = 120.0
    """How long an endpoint may be silent between two items before its stream fails (`stalled`). It may take half a
    second more."""
    max_stream_seconds: Seconds = 1800.0
    """How long a whole stream may take before it fails (`too_long`)."""
    abandon_after_seconds: Annotated[float | None, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)] = None
    """How long an answer without a viewer on any worker goes on before it ends as `interrupted`, reason `abandoned`.
    None: it goes on to its own end. Choose a longer time than a reload or a reconnection takes."""
    drain_seconds: Seconds = 20.0
    """How long open streams may go on after the process was asked to end (SIGTERM, a server that stops, the lifespan's
    end) before they are ended as `interrupted`."""
    development_drain_seconds: Seconds = 0.5
    """Replaces `drain_seconds` where a developer waits, if it is shorter: after Ctrl-C, under a server that reloads, at
    the end of a test."""
    replace_wait_seconds: Seconds = 5.0
    """How long `on_conflict="replace"` waits for the old stream to end before it takes that stream over."""

    finished_ttl_seconds: Seconds = 3600.0
    """How long a finished stream's log is kept."""
    live_ttl_seconds: Seconds = 3600.0
    """TTL of a live stream's keys. Appends and heartbeats refresh it once a minute; a short one more often."""
    replay_after_finish_seconds: SecondsOrNone = 30.0
    """How long after its end a stream is replayed in full to a client that sends no cursor."""
    unknown_binding_seconds: Seconds = 86_400.0
    """How long an outbox entry waits for a worker that knows its endpoint before it becomes a dead letter; at most half
    of `outbox_retention_seconds`. No attempt counts during this wait, so a rolling deployment loses nothing."""
    outbox_retention_seconds: Seconds = 604_800.0
    """How long a stream is kept after the last attempt at its owed save; and how long an erased session is remembered,
    so that no late write brings it back."""

    max_event_bytes: Bytes = 8_388_608
    """Size of one encoded item. A larger text is cut into several events; any other item is left out, with a notice
    (`value_replaced`)."""
    max_stream_bytes: Bytes = 67_108_864
    """Size of all events of a stream together, notices included. A larger stream fails (`too_long`)."""
    max_stream_events: Count = 500_000
    """How many events a stream may have, notices included. A longer stream fails (`too_long`)."""
    max_request_bytes: Bytes = 4_194_304
    """Size of a guarded endpoint's request body. A larger body is refused (`payload_too_large`) as soon as that many
    bytes have arrived or its `Content-Length` says so. Other routes have their own limits."""
    viewer_backlog_bytes: Bytes = 1_048_576
    """How far a viewer may fall behind a live stream before it is dropped; it can resume. One event always fits."""
    viewer_send_seconds: Seconds = 30.0
    """How long one write to a viewer (about 64 KiB) may hang before the viewer is dropped."""
    memory_store_bytes: Bytes = 268_435_456
    """How much `memory://` keeps in all. Beyond it, the oldest finished streams are dropped."""

    max_streams_per_owner: Count = 8
    """Answers being written for one owner at once, in all processes together; one more is refused (`limit_streams`)."""
    max_viewers_per_owner: Count = 64
    """Connections on which one owner reads streams at once, per process; one more is refused (`limit_viewers`)."""
    max_streams_per_process: Count = 2_000
    """Answers being written for all owners at once, per process; one more is refused with 503 (`limit_streams`)."""
    max_viewers_per_process: Count = 8_000
    """Connections on which all owners read streams at once, per process; one more is refused with 503
    (`limit_viewers`)."""
    max_resumes_per_minute: Count = 60
    """Resumes, shared answers, downloads of logs and pages of messages, counted together per owner and process; more
    are refused (`limit_rate`)."""
    max_changes_per_minute: Count = 300
    """Stops, erasures and refused new answers, counted together per owner and process; more are refused (`limit_rate`)
    before a store is asked."""
    limit_addresses: bool = True
    """Whether visitors of `anonymous` are limited by client address, as the server reports it (IPv6 by /64). Switch it
    off behind a proxy whose headers the server does not read, because all visitors then have the proxy's address."""
    max_opens_per_minute_per_address: Count = 120
    """New answers that anonymous visitors of one address ask for, per process; more are refused (`limit_rate`). Other
    requests that come without a cookie, or stop or erase something, have a second limit of the same size."""
    max_streams_per_address: Count = 32
    """Answers being written at once for visitors of one address who came without a cookie, per process; one more is
    refused (`limit_streams`)."""
    max_log_reads: Count = 2
    """Slices of logs being read at once, per process, for replays, downloads and saves. More reads wait; waiting owners
    take turns."""
    max_sync_streams: Count = 40
    """Sync generators running at once, each in a thread of its own, per process; one more is refused with 503."""

    max_concurrent_saves: Count = 32
    """Calls of one message store at once, per process; further calls wait."""
    max_outbox_attempts: Count = 20
    """After this many failed attempts a save in the outbox becomes a dead letter."""

    breaker_probe_seconds: Seconds = 1.0
    """How often an unreachable stream store or message store is tried again while its breaker is open."""
    readiness_probe_seconds: Seconds = 2.0
    """How often a process checks whether the store answers and allows what streams need, give or take a tenth. After a
    failure it checks four times as often. Readiness follows from the last two probes."""
    health_settle_seconds: SecondsOrNone = 10.0
    """How long `/health/streaming` keeps reporting a reason that has passed, so that its state does not flap."""

    samples_per_second: Annotated[int, Field(ge=0, le=1_000)] = 64
    """How many events, commits and gaps between commits are measured singly each second, per process, for observers
    that make histograms; 0 for none. What is counted is counted whole."""

    freeze_start: bool = True
    """Whether a process that a server runs takes the objects of its start out of garbage collection, once, as soon as
    the guard has started (`gc.collect`, then `gc.freeze`), and makes full collections rarer (`gc.set_threshold`, unless
    the host has thresholds of its own). Otherwise a full collection visits all of them, and every stream waits for it:
    about 50 ms. Tests and the command line never do so."""

    debug: bool = False
    """Development mode, as `StreamGuard(debug=True)` or `STREAMGUARD_DEBUG=1` set it: logs have tracebacks, and faults
    send the exception's class and text to the client. Never use it in production: the text may hold anything."""

    cors_origins: tuple[str, ...] = ()
    """Origins, besides the request's own host, that may call state-changing routes with cookies."""

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_send_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin == "null":
                raise ValueError(
                    "'null' is what browsers send for sandboxed frames and local files of any site: with it in the "
                    "list, every site may use your users' cookies"
                )
            known = _WEB_ORIGIN.fullmatch(origin) or _APP_ORIGIN.fullmatch(origin)
            if known is None or _WRITTEN_PORT.fullmatch(origin) is not None:
                raise ValueError(
                    f"{origin!r} is no origin as browsers send it, so no page would match: write scheme, host and "
                    "port, in lower case and ASCII (xn--…), without a path, a slash at the end, a wildcard or the "
                    "scheme's own port, as in 'https://app.example.com' or 'http://localhost:5173'"
                )
        return origins

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("heartbeat_seconds must be at most half of lease_seconds, or one late beat loses a stream")
        if self.live_ttl_seconds < 4 * self.lease_seconds:
            raise ValueError(
                "live_ttl_seconds must be at least four times lease_seconds, or a log ends before its orphan is found"
            )
        if "max_event_bytes" not in self.model_fields_set and self.max_event_bytes > self.max_stream_bytes:
            object.__setattr__(self, "max_event_bytes", self.max_stream_bytes)  # lowering one setting is enough
        if self.max_event_bytes > self.max_stream_bytes:
            raise ValueError("max_event_bytes must not be over max_stream_bytes")
        return self


def with_debug(given: Settings | None, debug: bool | None) -> Settings:
    """The settings, the defaults without any, with `debug` as it was given, or else as they or the environment say.

    Raises:
        ConfigurationError: it is on in production; or what is given are no `Settings`, or no bool.
    """
    settings = Settings() if given is None else given
    if not isinstance(settings, Settings):
        raise ConfigurationError(
            f"settings of StreamGuard is a Settings object, not {type(settings).__name__}: write "
            "settings=Settings(drain_seconds=60)"
        )
    if debug is not None and not isinstance(debug, bool):  # "0" and "false" would turn it on
        raise ConfigurationError(f"debug is True, False or None, not {debug!r}")
    if debug is None:
        debug = settings.debug or os.environ.get("STREAMGUARD_DEBUG", "") not in ("", "0")
    if debug and (name := next((name for name in ENVIRONMENTS if _is_production(name)), None)) is not None:
        raise ConfigurationError(
            f"debug mode sends the texts of exceptions to clients and logs, and {name}={os.environ[name]} says that "
            "this is production: remove debug=True, Settings(debug=True) or STREAMGUARD_DEBUG"
        )
    return settings if debug is settings.debug else settings.model_copy(update={"debug": debug})


def _is_production(name: str) -> bool:
    """Whether an environment variable says that the process serves real users."""
    return os.environ.get(name, "").strip().lower() in ("production", "prod", "live")
