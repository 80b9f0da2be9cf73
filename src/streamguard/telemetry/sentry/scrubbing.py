"""For hosts to give to `sentry_sdk.init`: events of their own lose everything that somebody may have written.

    sentry_sdk.init(dsn=…, **hooks())

What may stay is listed; all else goes, so that what a later version of the SDK adds is not sent either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypedDict, TypeVar, cast

from sentry_sdk.consts import DEFAULT_OPTIONS

__all__ = [
    "Hooks",
    "Scrubber",
    "before_breadcrumb",
    "before_send",
    "before_send_log",
    "before_send_metric",
    "before_send_span",
    "before_send_transaction",
    "hooks",
]

Payload = TypeVar("Payload", bound=Mapping[str, Any])
Hook = Callable[[Any, dict[str, Any]], Any]

REMOVED: Final = "[removed]"
_TAGS: Final = frozenset(
    {
        *("phase", "code", "outcome", "protocol", "framework", "signal", "binding", "variant"),
        *(f"streamguard.{name}" for name in ("stream_id", "message_id", "request_id", "session_hash")),
    }
)
_PLAIN: Final = frozenset(
    {
        *("event_id", "timestamp", "start_timestamp", "received", "level", "platform", "logger", "release", "type"),
        *("dist", "environment", "server_name", "sdk", "modules", "fingerprint", "measurements", "_metrics_summary"),
    }
)
"""Of an event: what the SDK and the deployment say."""
_FRAME: Final = ("filename", "abs_path", "function", "module", "lineno", "colno", "in_app", "platform")
"""No local variables, and no source lines: prompts stand in them."""
_CONTEXTS: Final[Mapping[str, frozenset[str] | None]] = {
    "trace": frozenset({"trace_id", "span_id", "parent_span_id", "op", "status", "origin", "sampled"}),
    "runtime": frozenset({"name", "version", "build"}),
    "os": frozenset({"name", "version", "kernel_version"}),
    "streamguard": None,
}
_SPAN: Final = (
    *("trace_id", "span_id", "parent_span_id", "same_process_as_parent", "op", "status", "origin"),
    *("start_timestamp", "timestamp", "exclusive_time", "is_segment"),
)
_ATTRIBUTES: Final = re.compile(
    r"streamguard\.[a-z_.]+|gen_ai\.(operation\.name|system|provider\.name|request\.model|response\.model)"
    r"|gen_ai\.usage\.[a-z_.]+|http\.request\.method|http\.response\.status_code|code\.(file\.path|function\.name|"
    r"line\.number)|logger\.name|status_code|method|sentry\.(op|origin|environment|release|sdk\.(name|version)|"
    r"severity_text|severity_number)|server\.address"
)
_WORD: Final = re.compile(r"[\w.:/<>\-]{1,200}")
_OURS: Final = re.compile(r"(streamguard|gen_ai)[\w. ]*")


class Hooks(TypedDict, total=False):
    """The options of `sentry_sdk.init` that are hooks, as far as the installed version has them."""

    before_send: Hook
    before_send_transaction: Hook
    before_breadcrumb: Hook
    before_send_log: Hook
    before_send_metric: Hook


class Scrubber:
    """The hooks, with what more a host may keep.

    Args:
        tags: names of tags of the host's own that may be sent, with values of one word.
        then: a hook of the host's own, called with what is left, event and hint, by each of ours. The hint holds the
            exception itself.
    """

    def __init__(self, *, tags: Iterable[str] = (), then: Hook | None = None) -> None:
        self._tags = _TAGS | frozenset(tags)
        self._then = then

    def before_send(self, event: Payload, hint: dict[str, Any]) -> Payload | None:
        """An error event, as `before_send`."""
        return self._handed_on(event, self._event(event), hint)

    def before_send_transaction(self, event: Payload, hint: dict[str, Any]) -> Payload | None:
        """A trace of one request or piece of work, as `before_send_transaction`."""
        return self._handed_on(event, self._event(event), hint)

    def before_send_log(self, log: Payload, hint: dict[str, Any]) -> Payload | None:
        """A log of Sentry's own, as `before_send_log`: the text goes, unless it is the name of one of our facts."""
        kept = {name: value for name, value in log.items() if name not in ("body", "attributes")}
        body = str(log.get("body"))
        kept["body"] = body if _OURS.fullmatch(body) else REMOVED
        kept["attributes"] = _attributes(log.get("attributes"))
        return self._handed_on(log, kept, hint)

    def before_send_metric(self, metric: Payload, hint: dict[str, Any]) -> Payload | None:
        """A metric of Sentry's own, as `before_send_metric`."""
        kept = {name: value for name, value in metric.items() if name != "attributes"}
        kept["attributes"] = _attributes(metric.get("attributes"))
        return self._handed_on(metric, kept, hint)

    def before_send_span(self, span: Payload, hint: dict[str, Any]) -> Payload | None:
        """A span of `trace_lifecycle="stream"`, as `before_send_span`: its name goes, unless it is one of ours."""
        kept = {name: value for name, value in span.items() if name not in ("name", "attributes")}
        name, attributes = str(span.get("name")), span.get("attributes")
        op = attributes.get("sentry.op") if isinstance(attributes, Mapping) else None
        kept["name"] = name if _OURS.fullmatch(name) else op if isinstance(op, str) and _is_word(op) else REMOVED
        kept["attributes"] = _attributes(attributes)
        return self._handed_on(span, kept, hint)

    def before_breadcrumb(self, crumb: Payload, hint: dict[str, Any]) -> Payload | None:
        """A breadcrumb, as `before_breadcrumb`: that there was one, of which kind."""
        return self._handed_on(crumb, _crumb(crumb), hint)

    def hooks(self) -> Hooks:
        """All of them, by the names of the options that the installed version of the SDK has, for `sentry_sdk.init`;
        but not `before_send_span`, of which the SDK warns unless spans are streamed."""
        every = Hooks(
            before_send=self.before_send,
            before_send_transaction=self.before_send_transaction,
            before_breadcrumb=self.before_breadcrumb,
            before_send_log=self.before_send_log,
            before_send_metric=self.before_send_metric,
        )
        return cast("Hooks", {name: hook for name, hook in every.items() if name in DEFAULT_OPTIONS})

    def _handed_on(self, _: Payload, kept: dict[str, Any], hint: dict[str, Any]) -> Payload | None:
        return cast("Payload | None", kept if self._then is None else self._then(kept, hint))

    def _event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in event.items() if name in _PLAIN}
        by_path = (event.get("transaction_info") or {}).get("source") in ("url", None)
        transaction = event.get("transaction")
        ours = event.get("logger") == "streamguard"
        if isinstance(transaction, str):
            kept["transaction"] = transaction if ours or not by_path else REMOVED
            kept["transaction_info"] = event.get("transaction_info") or {"source": "custom"}
        tags = event.get("tags") or {}
        pairs = tags.items() if isinstance(tags, Mapping) else (tuple(tag) for tag in tags)
        kept["tags"] = {name: value for name, value in pairs if name in self._tags and _is_word(value)}
        kept["contexts"] = {
            name: {
                field: value
                for field, value in context.items()
                if (fields is None and _is_scalar(value)) or (fields is not None and field in fields)
            }
            for name, fields in _CONTEXTS.items()
            if isinstance(context := (event.get("contexts") or {}).get(name), Mapping)
        }
        if isinstance(request := event.get("request"), Mapping) and "method" in request:
            kept["request"] = {"method": request["method"]}
        if "exception" in event:
            values = _values(event["exception"])
            kept["exception"] = {"values": [_exception(value) for value in values]}
        if "logentry" in event or "message" in event:
            kept["logentry"] = {"message": REMOVED}
        if "breadcrumbs" in event:
            kept["breadcrumbs"] = {"values": [_crumb(crumb) for crumb in _values(event["breadcrumbs"])]}
        if "spans" in event:
            kept["spans"] = [_span(span) for span in event["spans"] or () if isinstance(span, Mapping)]
        return kept


def _values(found: Any) -> list[Mapping[str, Any]]:
    values = found.get("values") if isinstance(found, Mapping) else found
    return [value for value in values or () if isinstance(value, Mapping)]


def _exception(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: entry[name] for name in ("type", "module", "thread_id") if name in entry}
    mechanism = entry.get("mechanism") or {}
    ids = ("type", "handled", "exception_id", "parent_id", "is_exception_group", "source")
    kept["mechanism"] = {name: mechanism[name] for name in ids if name in mechanism}
    kept["value"] = entry.get("value") if mechanism.get("type") == "streamguard" else REMOVED
    if isinstance(stack := entry.get("stacktrace"), Mapping):
        frames = [{name: frame[name] for name in _FRAME if name in frame} for frame in stack.get("frames") or ()]
        kept["stacktrace"] = {"frames": frames}
    return kept


def _crumb(crumb: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: crumb[name] for name in ("type", "category", "level", "timestamp") if name in crumb}
    if crumb.get("category") == "streamguard":
        kept |= {name: crumb[name] for name in ("message", "data") if name in crumb}
    elif data := _attributes(crumb.get("data")):
        kept["data"] = data
    return kept


def _span(span: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: span[name] for name in _SPAN if name in span}
    if _OURS.fullmatch(str(span.get("description"))):
        kept["description"] = span["description"]
    kept["data"] = _attributes(span.get("data"))
    return kept


def _attributes(found: Any) -> dict[str, Any]:
    """Those that are listed, with values of one word. In a log each value may be wrapped with its type."""
    kept = {}
    for name, value in (found or {}).items() if isinstance(found, Mapping) else ():
        bare = value.get("value") if isinstance(value, Mapping) else value
        if _ATTRIBUTES.fullmatch(name) and _is_word(bare):
            kept[name] = value
    return kept


def _is_word(value: object) -> bool:
    return _WORD.fullmatch(value) is not None if isinstance(value, str) else isinstance(value, (bool, int, float))


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, (str, bool, int, float))


_DEFAULT: Final = Scrubber()
before_send: Final = _DEFAULT.before_send
"""An error event without texts, variables, requests and users: give it to `sentry_sdk.init`."""
before_send_transaction: Final = _DEFAULT.before_send_transaction
"""The same for transactions."""
before_send_log: Final = _DEFAULT.before_send_log
"""The same for Sentry's logs."""
before_send_metric: Final = _DEFAULT.before_send_metric
"""The same for Sentry's metrics."""
before_breadcrumb: Final = _DEFAULT.before_breadcrumb
"""The same for breadcrumbs."""
before_send_span: Final = _DEFAULT.before_send_span
"""The same for spans that are streamed."""
hooks: Final = _DEFAULT.hooks
"""All but the last, for the installed version of the SDK: `sentry_sdk.init(dsn=…, **hooks())`."""
