"""The reference pages' tables, made from the package. `python -m tests.docs.tables` writes them into the pages."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from annotated_types import Ge, Gt
from packaging.requirements import Requirement
from packaging.specifiers import Specifier, SpecifierSet
from pydantic.fields import FieldInfo

from streamguard.faults import REGISTRY
from streamguard.log_lines import LogEvent
from streamguard.messages.sql.refusals import EXPLAINED as EXPLAINED_SQL
from streamguard.messages.sql.refusals import codes_of as sql_codes_of
from streamguard.observations import MEASUREMENTS, Signal
from streamguard.settings import Settings
from streamguard.stores.redis.refusals import EXPLAINED, codes_of
from streamguard.telemetry.audit import Actor, AuditAction, AuditRecord
from streamguard.telemetry.audit.trail import signals_of
from streamguard.telemetry.logging import level_of
from streamguard.telemetry.metrics import PREFIX, TABLE, Kind, Label, Merging
from streamguard.telemetry.metrics.metric import OTHER
from streamguard.telemetry.sentry.fields import ALLOWED
from streamguard.telemetry.tracing.spans import SPANS
from streamguard.telemetry.vocabulary import LOG_KEYS, SENTRY_KEYS, SENTRY_TAGS

__all__ = ["IDS_IN_SENTRY", "OWN_TEXTS", "ROOT", "TABLES", "read_table", "write_tables"]

ROOT: Final = Path(__file__).resolve().parents[2]

OWN_TEXTS: Final = frozenset({"warning"})
IDS_IN_SENTRY: Final = frozenset(
    {"stream_id", "message_id", "request_id", "owner_hash", "fault_id", "error", "error_reason", "cause", "status"}
)
"""Of the context `streamguard` in Sentry, beside the fields that are allowed."""

_BEGIN: Final = "<!-- generated table: python -m tests.docs.tables -->"
_END: Final = "<!-- end of generated table -->"


def _rows(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def fault_table() -> str:
    """Every fault code and what the registry says of it."""
    rows = [
        (
            f"`{code.value}`",
            str(spec.status),
            f"`{spec.phase.value}`",
            spec.severity.value,
            "yes" if spec.retryable else "no",
            spec.message,
        )
        for code, spec in REGISTRY.items()
    ]
    return _rows(("code", "status", "phase", "severity", "retryable", "message"), rows)


def settings_table() -> str:
    """Every setting, its default and the first paragraph under it in the source."""
    notes = _attribute_notes(Settings)
    rows = [
        (f"`{name}`", _default(field), _range(field), notes.get(name, ""))
        for name, field in Settings.model_fields.items()
    ]
    return _rows(("setting", "default", "range", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    default: object = field.get_default()
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, int | float):
        return f"{default:,.0f}" if default >= 1 and default == int(default) else f"{default:g}"
    return f"`{default}`" if default else "none"


def _range(field: FieldInfo) -> str:
    for bound in field.metadata:
        if isinstance(bound, Gt):
            return f"over {bound.gt}"
        if isinstance(bound, Ge):
            return f"{bound.ge} or more"
    pattern = next((bound.pattern for bound in field.metadata if hasattr(bound, "pattern")), None)
    return f"`{pattern}`" if pattern else ""


def _attribute_notes(cls: type) -> dict[str, str]:
    """The docstrings under a class's attributes, each as one line."""
    (definition,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(definition, ast.ClassDef)
    notes = {}
    for field, note in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign | ast.Assign):
            continue
        target = field.target if isinstance(field, ast.AnnAssign) else field.targets[0]
        if not isinstance(target, ast.Name):
            continue
        if isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant) and isinstance(note.value.value, str):
            notes[target.id] = " ".join(note.value.value.split())
    return notes


def event_table() -> str:
    """Every signal and every other event, the level of its log line, and what its docstring says."""
    notes = _attribute_notes(Signal)
    rows = [
        (f"`{signal}`", "not logged" if signal in MEASUREMENTS else level_of(signal), notes[signal.name])
        for signal in Signal
    ]
    others = _attribute_notes(LogEvent)
    rows += [(f"`{event}`", _level_in(others[event.name]), others[event.name]) for event in LogEvent]
    return _rows(("event", "level", "meaning and fields"), rows)


def _level_in(note: str) -> str:
    """The level that a docstring names."""
    if "their level" in note:
        return "of those"
    return note.partition("level `")[2].partition("`")[0] or "error"


def refusal_table() -> str:
    """Why Redis cannot be used, what Redis itself says, and what to do about it."""
    rows = [
        (f"`{reason}`", ", ".join(f"`{code}`" for code in codes_of(reason)), one.meaning, one.advice)
        for reason, one in EXPLAINED.items()
    ]
    return _rows(("reason", "Redis says", "meaning", "what to do"), rows)


def sql_refusal_table() -> str:
    """Why a database cannot be used, its own codes for that, and what to do about it."""
    rows = [
        (f"`{reason}`", ", ".join(f"`{code}`" for code in sql_codes_of(reason)), text)
        for reason, text in EXPLAINED_SQL.items()
    ]
    return _rows(("reason", "the database's code", "meaning, and what to do"), rows)


def tags_table() -> str:
    """The tags of Sentry's events, then every field and where it is."""
    of_audit = {field.name for field in dataclasses.fields(AuditRecord)}
    in_sentry = ALLOWED | OWN_TEXTS | IDS_IN_SENTRY
    rows = [
        (
            f"`{key}`",
            meaning,
            "yes",
            ", ".join(
                (*(["tag"] if key in SENTRY_TAGS else []), *(["context"] if key in in_sentry else [])),
            ),
            "yes" if key in of_audit else "",
        )
        for key, meaning in LOG_KEYS.items()
    ]
    rows += [
        (f"`{key}`", meaning, "", "tag, context" if key in SENTRY_TAGS else "context", "")
        for key, meaning in SENTRY_KEYS.items()
    ]
    return "\n\n".join(
        (
            _rows(("tag", "meaning"), [(f"`{tag}`", meaning) for tag, meaning in SENTRY_TAGS.items()]),
            _rows(("field", "meaning", "log", "Sentry", "audit"), rows),
        )
    )


def audit_table() -> str:
    """Every action of the audit trail, then the actors, then the fields of a record."""
    notes, actors, fields = map(_attribute_notes, (AuditAction, Actor, AuditRecord))
    actions = [
        (f"`{action}`", notes[action.name], ", ".join(f"`{signal}`" for signal in signals_of(action)))
        for action in AuditAction
    ]
    names = [(f"`{field.name}`", fields.get(field.name, "")) for field in dataclasses.fields(AuditRecord)]
    return "\n\n".join(
        (
            _rows(("action", "meaning", "made of"), actions),
            _rows(("actor", "who that is"), [(f"`{actor}`", actors[actor.name]) for actor in Actor]),
            _rows(("field", "meaning"), names),
        )
    )


def versions_table() -> str:
    """Every package that this one needs or has an extra for, and the versions of it that it takes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed_for: dict[tuple[str, str], list[str]] = {}
    for line in project["dependencies"]:
        needed_for.setdefault(_range_of(line), []).append("everything")
    for extra, lines in project["optional-dependencies"].items():
        if not extra.startswith("demo"):
            for line in lines:
                needed_for.setdefault(_range_of(line), []).append(f"extra `{extra}`")
    rows = [(name, versions, ", ".join(users)) for (name, versions), users in needed_for.items()]
    return _rows(("package", "versions", "needed for"), [("Python", _words(project["requires-python"]), ""), *rows])


def _range_of(line: str) -> tuple[str, str]:
    """The package of a requirement, and its versions in words."""
    requirement = Requirement(line)
    return requirement.name, _words(str(requirement.specifier))


def _words(specifier: str) -> str:
    """`3.11 or later`, `5.0.1 or later, before 9`."""
    words = {">=": "{} or later", "<": "before {}"}
    return ", ".join(words[one.operator].format(one.version) for one in sorted(SpecifierSet(specifier), key=_at_first))


def _at_first(specifier: Specifier) -> bool:
    return specifier.operator != ">="


MERGED: Final = {
    Merging.SUM: "sum",
    Merging.WORST: "max",
    Merging.LAST: "newest",
    Merging.LATEST: "max",
}
"""What the page shows of several workers' gauges."""


def metrics_table() -> str:
    """Every metric, what it means, its labels and the signals that it is made of."""
    rows = [
        (
            f"`{PREFIX}{metric.name}`",
            metric.kind.value,
            MERGED[metric.merging] if metric.kind is Kind.GAUGE else "sum",
            ", ".join((*map(_label, metric.labels), *(("`unit`",) if metric.by_unit else ()))),
            metric.help,
            ", ".join(f"`{signal.removeprefix('streamguard.')}`" for signal in metric.signals),
        )
        for metric in TABLE
    ]
    return _rows(("metric", "type", "over workers", "labels", "meaning", "made of"), rows)


def _label(label: Label) -> str:
    """A label, with its values where they are a few."""
    values = label.values or ()
    return f"`{label.name}`" + (f" ({', '.join((*values, OTHER))})" if 0 < len(values) <= 5 else "")


def span_table() -> str:
    """Every span, what it hangs below and how long it lasts."""
    rows = [(f"`{span.name}`", _code(span.parent), span.lasts) for span in SPANS]
    return _rows(("span", "below", "lasts"), rows)


def _code(text: str) -> str:
    return re.sub(r"streamguard\.\w+", r"`\g<0>`", text)


TABLES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "docs/reference/audit.md": audit_table,
        "docs/reference/events.md": event_table,
        "docs/reference/faults.md": fault_table,
        "docs/reference/messages.md": sql_refusal_table,
        "docs/reference/metrics.md": metrics_table,
        "docs/reference/redis.md": refusal_table,
        "docs/reference/settings.md": settings_table,
        "docs/reference/spans.md": span_table,
        "docs/reference/tags.md": tags_table,
        "docs/reference/versions.md": versions_table,
    }
)
"""Each page with a generated table, and what makes it."""


def read_table(page: str) -> str:
    """The table as it stands in a page."""
    return (ROOT / page).read_text().partition(_BEGIN)[2].partition(_END)[0].strip()


def write_tables() -> None:
    """Replace the table of each page by what the package says now."""
    for page, make in TABLES.items():
        before, begin, rest = (ROOT / page).read_text().partition(_BEGIN)
        _, end, after = rest.partition(_END)
        assert end, f"{page} lacks its markers"
        (ROOT / page).write_text(f"{before}{begin}\n\n{make()}\n\n{end}{after}")


if __name__ == "__main__":
    write_tables()
