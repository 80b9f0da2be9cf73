"""The rules of the ops kit, as data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml  # type: ignore[import-untyped] # has none

from ..docs.samples import ROOT

__all__ = ["ALERTS", "FILES", "OPS", "RECORDED", "RECORDED_METRICS", "Alert", "metrics_in", "parsed"]

OPS: Final = ROOT / "docs" / "ops"
FILES: Final = tuple(sorted((OPS / "prometheus").glob("*.yml")))


@dataclass(frozen=True)
class Alert:
    """An alert rule."""

    name: str
    expr: str
    minutes: int
    """Its `for`."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def parsed(text: str) -> Any:
    """A text of YAML as data."""
    return yaml.safe_load(text)


def _rules() -> Iterator[dict[str, Any]]:
    for file in FILES:
        for group in parsed(file.read_text())["groups"]:
            yield from group["rules"]


def _alert(rule: Mapping[str, Any]) -> Alert:
    minutes = re.fullmatch(r"(\d+)m", rule.get("for", "0m"))
    assert minutes, f"give {rule['alert']} its `for` in minutes"
    return Alert(rule["alert"], rule["expr"], int(minutes[1]), rule["labels"], rule["annotations"])


ALERTS: Final[Mapping[str, Alert]] = {rule["alert"]: _alert(rule) for rule in _rules() if "alert" in rule}
RECORDED: Final[Mapping[str, str]] = {
    f"{rule['record']} {rule.get('labels', {})}": rule["expr"] for rule in _rules() if "record" in rule
}
"""The expression of each recording rule, by the series it makes."""


def metrics_in(text: str) -> set[str]:
    """The metrics of the package that an expression or a page names, without a histogram's endings."""
    named = set(re.findall(r"(?<![\w:.])streamguard_[a-z0-9_]+(?![\w:(.*])", text))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}


RECORDED_METRICS: Final = frozenset().union(*(metrics_in(file.read_text()) for file in FILES))
"""The metrics that rules read."""
