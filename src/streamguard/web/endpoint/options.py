"""The arguments of `@guard.stream`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ...durations import check_duration, is_duration
from ...errors import ConfigurationError
from ...runtime import OnConflict, OnStoreFailure, SaveOption
from ...settings import Settings
from ...wire import WireProtocol
from .quota_options import QuotaOptions
from .selector import SelectorSource

__all__ = ["KeepAlive", "StreamOptions"]

KeepAlive: TypeAlias = Literal["comment", "block"]
"""How a quiet connection is kept open: a comment line, or a comment in a block of its own."""

MAX_BINDING: Final = 256
"""How many characters a binding may have: it is part of every stream's record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """The arguments, as given."""

    session: SelectorSource | None
    message_id: SelectorSource | None
    protocol: str | None
    on_conflict: OnConflict
    on_store_failure: OnStoreFailure
    ids: bool | None
    binding: str | None
    first_item_seconds: float | None
    stall_seconds: float | None
    max_stream_seconds: float | None
    abandon_after_seconds: float | Literal[False] | None
    save: SaveOption
    quotas: QuotaOptions
    keep_alive: KeepAlive | None
    client_version: str | None

    def check(self) -> None:
        """Raises `ConfigurationError` for a value that no endpoint can have."""
        if self.on_conflict not in ("reject", "replace", "join"):
            raise ConfigurationError(f"on_conflict is 'reject', 'replace' or 'join', not {self.on_conflict!r}")
        if self.on_store_failure not in ("continue", "fail"):
            raise ConfigurationError(f"on_store_failure is 'continue' or 'fail', not {self.on_store_failure!r}")
        if self.keep_alive not in (None, "comment", "block"):
            raise ConfigurationError(f"keep_alive is 'comment' or 'block', not {self.keep_alive!r}")
        ids: object = self.ids
        if ids is not None and not isinstance(ids, bool):
            raise ConfigurationError(f"ids is True, False or None, not {ids!r}")
        binding: object = self.binding
        if binding is not None and not (isinstance(binding, str) and 0 < len(binding) <= MAX_BINDING):
            raise ConfigurationError(
                f"binding is a name of 1 to {MAX_BINDING} characters that this endpoint keeps for good, not "
                f"{binding!r:.80}"
            )
        for name in ("first_item_seconds", "stall_seconds", "max_stream_seconds"):
            check_duration(name, getattr(self, name), or_none=True)
        value = self.abandon_after_seconds
        if value is not None and value is not False and not is_duration(value):
            raise ConfigurationError(
                "abandon_after_seconds is a positive number of seconds, or False for never; a hundred years at most, "
                f"not {value!r}"
            )

    def keeps_alive_by_block(self, protocol: WireProtocol) -> bool:
        """Whether a quiet connection gets a comment in a block of its own. Where nothing is said, a page that wants no
        ids may split the answer at blank lines itself; what is passed on may have ids of its upstream's."""
        if self.keep_alive is None:
            return self.ids is False and protocol.ids_by_default
        return self.keep_alive == "block"

    def protocol_for_clients(self, protocol: WireProtocol) -> WireProtocol:
        """The endpoint's protocol, for clients of its `client_version`.

        Raises:
            ConfigurationError: another option does not work with this protocol.
        """
        ids = protocol.ids_by_default if self.ids is None else self.ids
        if self.keep_alive == "block" and ids:
            raise ConfigurationError(
                "keep_alive='block' is for endpoints whose events carry no ids: say ids=False too, or leave it out; "
                "after an id, the OpenAI Python SDK takes a blank line for an event"
            )
        version = self.client_version
        if version is None:
            return protocol
        if not isinstance(version, str):
            raise ConfigurationError(f"client_version is a text such as '6.0.12', not {type(version).__name__}")
        try:
            chosen = protocol.for_client(version)
        except ValueError as exc:
            raise ConfigurationError(f"client_version {version!r} is {exc}") from None
        if not chosen.client_version:
            raise ConfigurationError(f"client_version is for ui-message endpoints; this one speaks {protocol.name}")
        return chosen

    def abandon_after(self, settings: Settings) -> float | None:
        """For how long an answer goes on while no client watches it, in seconds; None: to its own end."""
        value = self.abandon_after_seconds
        if value is False:
            return None
        return settings.abandon_after_seconds if value is None else value
