"""One rule of `StreamGuardMiddleware`: the requests that it matches, and how their streams are guarded."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Literal

from starlette.requests import Request

from ...errors import ConfigurationError
from ...runtime import OnConflict, OnQuotaFailure, OnStoreFailure, PartialCharge, QuotaOption, SaveOption
from ...wire import UNDECIDED
from ...wire.recognition import LINES, SSE
from ..endpoint.demand_source import Estimate
from ..endpoint.options import KeepAlive, StreamOptions
from ..endpoint.quota_options import QuotaOptions
from .path_pattern import PathPattern
from .rule_source import RuleSource, RuleSourceLike

__all__ = ["Condition", "StreamRule"]

Condition = str | Callable[[Request], bool | Awaitable[bool]]
"""Whether a rule matches a request of its path and methods: a function of the request, sync or async, which may read
the body; or where the request has a value that is true, as in `"body.stream"`."""

_METHOD: Final = re.compile(r"[A-Z][A-Z-]*")
_NEVER: Final = frozenset({"HEAD", "OPTIONS", "TRACE", "CONNECT"})
_MEDIA_TYPES: Final = frozenset({SSE}) | LINES
"""Those whose streams can be cut into events."""
_PARSED: Final = {"ui-message": "ui-message-raw", "plain": "opaque"}
"""Protocols that write what an endpoint yields, and what a response that is passed on byte for byte speaks instead."""


class StreamRule:
    """Guards the streams of an endpoint that stays as it is: see `StreamGuardMiddleware`.

    Args:
        path: which paths it matches, below the mount of the application: `/v1/chat/completions`; `/v1/*`, whose last
            segment stands for everything below; `/threads/{thread}/runs`, with parameters that are one segment each.
        methods: which methods it matches. `HEAD` and `OPTIONS` always pass by.
        when: which of those requests it matches: a function of the request, or a place of a value that is true, such as
            `"body.stream"`. None for all.
        media_types: of responses that are streams. Others pass as they are, and so do those without a
            body (204) or with a status from 300 on.
        session: the conversation's id: `"body.id"` (of a JSON body), `"path.thread"` (a parameter of `path`),
            `"query.id"`, `"header.x-session-id"`, or a function of the request, which may be async and read the body.
            None, or an id that is missing, gives each request a session of its own.
        protocol: what the stream speaks, where its headers and first block are not to decide that (`auto`): `openai`,
            `anthropic`, `ui-message-raw`, `ndjson` or `opaque`. Its bytes are passed on in each case; the protocol
            decides what is read in them, and how a failure is told.
        message_id: the reply's id, found like the session's; a fresh one otherwise.
        estimate: what a reply may consume: a number, numbers by unit, or found like the session's id. A request where
            `"body.max_tokens"`, say, is missing or no whole number is answered 400; a function may have a default.
        binding: the stable name of this rule; its methods and path otherwise. Rules that save or count differently and
            have these in common need names of their own.

    The other options are those of `StreamGuard.stream`.

    Raises:
        ConfigurationError: a request could never match, or an option can never work; the text names the fix.
    """

    def __init__(
        self,
        path: str,
        *,
        methods: Iterable[str] = ("POST",),
        when: Condition | None = None,
        media_types: Iterable[str] = ("text/event-stream", "application/x-ndjson"),
        session: RuleSourceLike | None = None,
        protocol: str = UNDECIDED.name,
        on_conflict: OnConflict = "reject",
        on_store_failure: OnStoreFailure = "continue",
        message_id: RuleSourceLike | None = None,
        ids: bool | None = None,
        first_item_seconds: float | None = None,
        stall_seconds: float | None = None,
        max_stream_seconds: float | None = None,
        abandon_after_seconds: float | Literal[False] | None = None,
        binding: str | None = None,
        save: SaveOption = None,
        quota: QuotaOption = None,
        estimate: Estimate | str | Callable[[Request], Estimate | Awaitable[Estimate]] | None = None,
        charge_partial: PartialCharge = "consumed",
        on_quota_failure: OnQuotaFailure = "fail",
        keep_alive: KeepAlive = "comment",
    ) -> None:
        self.pattern: PathPattern = PathPattern(path)
        self.methods: frozenset[str] = _methods(methods, path)
        self.media_types: frozenset[str] = _media_types(media_types, path)
        self.name: str = f"StreamRule({path!r})"
        """For messages."""
        self.binding: str = binding or f"rule:{','.join(sorted(self.methods))} {path}"
        parameters = self.pattern.parameters
        self.condition: RuleSource | None = RuleSource.optional(when, "when", parameters)
        self.session: RuleSource | None = RuleSource.optional(session, "session", parameters)
        self.message_id: RuleSource | None = RuleSource.optional(message_id, "message_id", parameters)
        if callable(estimate) or isinstance(estimate, str):
            RuleSource(estimate, "estimate", parameters)
        if protocol in _PARSED:
            raise ConfigurationError(
                f"protocol={protocol!r} is for what an endpoint yields; the middleware passes a response on byte for "
                f"byte: leave protocol out of {self.name}, or name {_PARSED[protocol]!r}"
            )
        self.options: StreamOptions = StreamOptions(
            session=None,
            message_id=None,
            protocol=protocol,
            on_conflict=on_conflict,
            on_store_failure=on_store_failure,
            ids=ids,
            binding=self.binding,
            first_item_seconds=first_item_seconds,
            stall_seconds=stall_seconds,
            max_stream_seconds=max_stream_seconds,
            abandon_after_seconds=abandon_after_seconds,
            save=save,
            quotas=QuotaOptions(
                quota=quota, estimate=estimate, charge_partial=charge_partial, on_quota_failure=on_quota_failure
            ),
            keep_alive=keep_alive,
            client_version=None,
        )
        self.options.check()

    def __repr__(self) -> str:
        return self.name


def _methods(given: Iterable[object], path: str) -> frozenset[str]:
    given = given if isinstance(given, str) else list(given)
    if isinstance(given, str):
        raise ConfigurationError(f"methods of StreamRule({path!r}) are several: write methods=[{given!r}]")
    methods = [method.upper() for method in given if isinstance(method, str)]
    if not methods or len(methods) < len(given) or not all(map(_METHOD.fullmatch, methods)):
        raise ConfigurationError(f"methods of StreamRule({path!r}) are names such as 'POST', not {given!r}")
    if not _NEVER.isdisjoint(methods):
        raise ConfigurationError(
            f"methods of StreamRule({path!r}) has {sorted(_NEVER & set(methods))[0]!r}, whose answers are no streams: "
            "leave it out, such requests always pass by"
        )
    return frozenset(methods)


def _media_types(given: Iterable[object], path: str) -> frozenset[str]:
    given = given if isinstance(given, str) else list(given)
    if isinstance(given, str):
        raise ConfigurationError(f"media_types of StreamRule({path!r}) are several: write media_types=[{given!r}]")
    types = [one.strip().lower() for one in given if isinstance(one, str)]
    if not types or len(types) < len(given) or not _MEDIA_TYPES.issuperset(types):
        known = ", ".join(sorted(_MEDIA_TYPES))
        raise ConfigurationError(
            f"media_types of StreamRule({path!r}) are those of events or lines ({known}), without parameters, not "
            f"{given!r}: other streams cannot be cut into events"
        )
    return frozenset(types)
