"""The kit, installed as its page says: Prometheus takes the files, loads the rules, and answers what Grafana asks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount, Route

from streamguard import StreamGuard
from streamguard.stores.memory import MemoryStore
from streamguard.telemetry.metrics import PrometheusMetrics
from streamguard.testing import GuardedApp

from ..docs.samples import blocks
from ..harness.ports import free_port
from ..harness.tools import missing
from ..harness.waiting import wait_until_async
from ..web.serving import USER, serving, user_of
from .promtool import promtool
from .rules import ALERTS, FILES, OPS, RECORDED, parsed

pytestmark = [pytest.mark.anyio, pytest.mark.processes]

SAMPLE: Final = OPS / "sample"
DASHBOARD: Final[dict[str, Any]] = json.loads((OPS / "grafana" / "streamguard.json").read_text())
MATCHER: Final = re.compile(r'alertname(=~?)"([^"]+)"')


def installed(directory: Path, *, target: str, every: str) -> Path:
    """The sample's configuration beside the rules, with a target of its own."""
    (directory / "streamguard").mkdir()
    for file in FILES:
        shutil.copy(file, directory / "streamguard")
    config = parsed((SAMPLE / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": every, "evaluation_interval": every}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    del config["alerting"]
    file = directory / "prometheus.yml"
    file.write_text(json.dumps(config))
    return file


def test_promtool_takes_the_sample_with_the_rules_beside_it(tmp_path: Path) -> None:
    shutil.copy(SAMPLE / "prometheus.yml", tmp_path)
    shutil.copytree(OPS / "prometheus", tmp_path / "streamguard")
    promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_alerts_that_explain_others_are_named_as_they_are() -> None:
    """An alert that is to be held back, and the one for which it is, are there; a regular expression has a match."""
    config = parsed((SAMPLE / "alertmanager.yml").read_text())
    severities = {alert.labels["severity"] for alert in ALERTS.values()}
    assert [route["matchers"] for route in config["route"]["routes"]] == [['severity="page"']]
    assert severities == {"page", "ticket"}
    receivers = {receiver["name"] for receiver in config["receivers"]}
    assert {config["route"]["receiver"], *(route["receiver"] for route in config["route"]["routes"])} == receivers
    for rule in config["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            found = MATCHER.fullmatch(matcher)
            assert found, matcher
            how, pattern = found.groups()
            names = [name for name in ALERTS if re.fullmatch(pattern, name)]
            assert names if how == "=~" else pattern in ALERTS, matcher


def test_grafana_is_given_the_data_source_that_the_dashboard_asks_for() -> None:
    (source,) = parsed((SAMPLE / "grafana" / "datasource.yml").read_text())["datasources"]
    (variable,) = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"]
    assert source["type"] == variable["query"] == "prometheus"
    assert (
        source["jsonData"]["timeInterval"]
        == parsed((SAMPLE / "prometheus.yml").read_text())["global"]["scrape_interval"]
    )
    (provider,) = parsed((SAMPLE / "grafana" / "dashboards.yml").read_text())["providers"]
    assert provider["type"] == "file"


def test_the_page_shows_the_samples_as_they_are() -> None:
    shown = [text for _, text in blocks("docs/ops/index.md", "yaml")]
    for text in shown:
        assert any(text.strip() in file.read_text() for file in SAMPLE.rglob("*.yml")), text


@pytest.mark.long
async def test_a_real_prometheus_loads_the_rules_and_answers_every_panel(tmp_path: Path) -> None:
    metrics = PrometheusMetrics(registry=CollectorRegistry())
    guard = StreamGuard(MemoryStore(), authenticate=user_of, observers=(metrics,))

    @guard.stream("request.query_params.id", binding="chat")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "word"

    chats = Starlette(routes=[Route("/api/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(chats, "/api/chat")
    page = Starlette(routes=[Mount("/metrics", metrics.asgi_app())])
    async with GuardedApp(chats, guard, headers=USER) as visitor, serving(page) as port:
        answer = await visitor.post({}, path="/api/chat?id=s")
        assert answer.status == 200
        await answer.rest()
        promtool("check", "metrics", says=metrics.exposition())
        config = installed(tmp_path, target=f"127.0.0.1:{port}", every="200ms")
        with prometheus(config, tmp_path / "data") as url:
            async with httpx.AsyncClient(base_url=url, trust_env=False) as client:

                async def asked(path: str, **parameters: str) -> Any:
                    try:
                        answer = (await client.get(path, params=parameters)).json()
                    except (httpx.TransportError, ValueError):  # it is not there yet
                        return None
                    return answer["data"] if answer["status"] == "success" else None

                async def scraped() -> Any:
                    data = await asked("/api/v1/query", query="streamguard_streams_opened_total > 0")
                    return data and data["result"]

                await wait_until_async(scraped, description="it has scraped the worker", timeout=40)
                groups = (await asked("/api/v1/rules"))["groups"]
                rules = [rule for group in groups for rule in group["rules"]]
                assert len(rules) == len(ALERTS) + len(RECORDED)
                assert {rule["lastError"] for rule in rules if "lastError" in rule} == set()
                for panel in DASHBOARD["panels"]:
                    for target in panel.get("targets", ()):
                        query = re.sub(r"\$[a-z]+", ".*", target["expr"].replace("$__rate_interval", "1m"))
                        assert await asked("/api/v1/query", query=query) is not None, panel["title"]
                names = set(await asked("/api/v1/label/__name__/values"))
                asked_for = set(re.findall(r"streamguard_\w+(?=\{)", json.dumps(DASHBOARD)))
                known = {name for name in asked_for if name in names}
                assert known >= {"streamguard_streams_active", "streamguard_stream_terminal_total"}


@contextmanager
def prometheus(config: Path, data: Path) -> Iterator[str]:
    """A Prometheus server; its address."""
    binary = shutil.which("prometheus")
    if binary is None:
        missing("needs prometheus: apt-get install prometheus")
    port = free_port()
    arguments = [f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(
        [binary, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
