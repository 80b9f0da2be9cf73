"""The operations kit names only what there is, and all of it is what Prometheus and Grafana take."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from streamguard.cli.app import app
from streamguard.faults import FaultCode, Phase
from streamguard.observations import Signal

from ..docs.samples import ROOT, blocks
from .promtool import promtool
from .rules import ALERTS, FILES, OPS, RECORDED, parsed

RUNBOOK: Final = sorted((OPS / "runbook").glob("*.md"))
INCIDENTS: Final = [page for page in RUNBOOK if page.stem != "index"]
DASHBOARD: Final[dict[str, Any]] = json.loads((OPS / "grafana" / "streamguard.json").read_text())
RUNBOOK_ROOT: Final = "https://docs.example.com/ops/runbook/"
"""Where the built documentation would have the runbook."""
_NAME: Final = re.compile(r"Streamguard[A-Z]\w+")
_RECORDED: Final = re.compile(r"[a-z_]+:streamguard[a-z_]*:\w+|(?<![:\w])streamguard:\w+:\w+")
_COMMAND: Final = re.compile(r"`streamguard ((?:[a-z]+ ?)+)|^command: streamguard ((?:[a-z]+ ?)+)", re.M)
_FINGERPRINT: Final = re.compile(r"`streamguard, ([^`]+)`")


# -- rules -------------------------------------------------------------------------------------------------------------


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", *map(str, FILES))


@pytest.mark.parametrize("name", {series.partition(" ")[0] for series in RECORDED})
def test_recorded_series_are_named_by_level_metric_and_operations(name: str) -> None:
    """https://prometheus.io/docs/practices/rules/"""
    level, metric, operations = name.split(":")
    assert level == "job_variant_slo"
    assert re.fullmatch(r"streamguard_[a-z_]+", metric)
    assert re.fullmatch(r"rate\d+m|ratio_rate\d+[mhd]|increase\d+[mhd]", operations)


def test_every_recorded_series_that_is_used_is_recorded() -> None:
    recorded = {series.partition(" ")[0] for series in RECORDED}
    for file in (*OPS.rglob("*.md"), *FILES, *OPS.rglob("*.json")):
        assert set(_RECORDED.findall(file.read_text())) <= recorded, file.name
    assert set(_RECORDED.findall(json.dumps(DASHBOARD)))


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)
def test_each_alert_says_what_to_do(alert: Any) -> None:
    assert alert.labels["severity"] in ("page", "ticket")
    assert set(alert.annotations) == {"summary", "runbook_url", "sentry", "command"}
    path, _, anchor = alert.annotations["runbook_url"].removeprefix(RUNBOOK_ROOT).partition("/#")
    assert anchor in _anchors(OPS / "runbook" / f"{path}.md")
    assert anchor == alert.name.lower()
    assert _command_of(alert.annotations["command"]) in _commands()
    if not alert.annotations["sentry"].startswith("none: "):
        _assert_is_a_fingerprint(alert.annotations["sentry"].removeprefix("streamguard, "))


def test_each_alert_is_on_one_page() -> None:
    named = [anchor for page in INCIDENTS for anchor in re.findall(r"^### (\w+)$", page.read_text(), re.M)]
    assert sorted(named) == sorted(ALERTS)


# -- dashboard ---------------------------------------------------------------------------------------------------------


def test_prometheus_takes_every_expression_of_the_dashboard_and_the_pages(tmp_path: Path) -> None:
    expressions = [*_dashboard(), *_of_pages()]
    rules = [{"record": f"expression:{n}", "expr": _filled_in(expr)} for n, expr in enumerate(expressions)]
    assert len(rules) > 30
    file = tmp_path / "expressions.json"
    file.write_text(json.dumps({"groups": [{"name": "expressions", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    """What its import looks at: a version, panels with ids of their own and places that do not overlap, and data
    sources that are variables."""
    assert DASHBOARD["schemaVersion"] >= 36
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["targets"], panel["title"]
        for target in panel.get("targets", ()):
            assert 'job=~"$job"' in target["expr"]
            assert 'variant=~"$variant"' in target["expr"]
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert variables == ["datasource", "job", "variant", "binding"]


def _dashboard() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["expr"]


def _of_pages() -> Iterator[str]:
    for page in (OPS / "index.md", *RUNBOOK):
        for _, expression in blocks(str(page.relative_to(ROOT)), "promql"):
            yield expression
        yield from re.findall(r"\| `([^`]*\([^`]*\[10m\][^`]*)` \|", page.read_text())


def _filled_in(expression: str) -> str:
    """With a value for each of Grafana's variables."""
    return re.sub(r"\$[a-z]+", ".*", expression.replace("$__rate_interval", "5m"))


# -- runbook -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", INCIDENTS, ids=lambda page: page.stem)
def test_each_page_names_a_metric_an_issue_and_a_command_with_its_output(page: Path) -> None:
    text = page.read_text()
    table = text.partition("\n| look at |")[2].partition("\n\n")[0]
    assert "\n| metric" in table
    assert "\n| Sentry `streamguard, " in table
    assert "\n| command `streamguard " in table
    assert "\n$ streamguard " in text
    for words in _FINGERPRINT.findall(text):
        _assert_is_a_fingerprint(words)
    for found in re.findall(r"(?:`|\$ )(streamguard [a-z][^`\n]*)", text):
        if "," not in found.partition(" ")[0] and not found.startswith("streamguard, "):
            assert _command_of(found) in _commands(), found


@pytest.mark.parametrize("page", [OPS / "index.md", *RUNBOOK], ids=lambda page: page.stem)
def test_each_alert_that_a_page_names_is_there(page: Path) -> None:
    assert set(_NAME.findall(page.read_text())) <= set(ALERTS)


def test_the_index_has_every_page() -> None:
    index = (OPS / "runbook" / "index.md").read_text()
    assert {page.name for page in INCIDENTS} == set(re.findall(r"\]\(([\w-]+\.md)\)", index))


def test_the_samples_of_configuration_are_yaml() -> None:
    for _, text in blocks(str((OPS / "index.md").relative_to(ROOT)), "yaml"):
        assert parsed(text)


def _anchors(page: Path) -> set[str]:
    return {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", page.read_text(), re.M)}


def _commands() -> set[str]:
    """Every command, `outbox list`."""
    found = set()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined] # it is a group
        found |= {f"{name} {below}" for below in getattr(command, "commands", ())} or {name}
    return found


def _command_of(line: str) -> str:
    words = line.split()[1:]
    return " ".join(words[:2]) if words[0] in ("outbox", "quota") else words[0]


def _assert_is_a_fingerprint(words: str) -> None:
    """`persistence, persistence_failed`, or a signal."""
    first, _, code = words.partition(", ")
    if first in set(Signal):
        return
    assert Phase(first)
    assert FaultCode(code)
