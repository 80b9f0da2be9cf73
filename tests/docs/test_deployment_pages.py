"""What the deployment pages show: the image's commands run, its probes answer, manifests fit together, and each wait is
longer than the one inside it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml  # type: ignore[import-untyped] # has none
from starlette.types import Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from streamguard.settings import Settings
from tests.harness.ports import free_port
from tests.harness.redis_binaries import redis_binary
from tests.harness.sse import Ending, post_chat
from tests.harness.waiting import wait_until

from .samples import blocks

pytestmark = pytest.mark.anyio

DOCKER: Final = "docs/how-to/deploy/docker.md"
KUBERNETES: Final = "docs/how-to/deploy/kubernetes.md"
TIMEOUTS: Final = "docs/how-to/deploy/timeouts.md"
((_, SHOP),) = blocks("docs/how-to/deploy/servers.md", "python")
((_, DOCKERFILE),) = blocks(DOCKER, "dockerfile")
((_, COMPOSE),) = blocks(DOCKER, "yaml")
((_, MANIFESTS),) = blocks(KUBERNETES, "yaml")
URL: Final = '"redis://localhost:6379/0"'
INSTRUCTIONS: Final = re.compile("FROM|WORKDIR|COPY|RUN|ENV|USER|EXPOSE|STOPSIGNAL|HEALTHCHECK|CMD")
DRAIN_SECONDS: Final = Settings().drain_seconds
TRUSTED: Final = "FORWARDED_ALLOW_IPS"
"""uvicorn's variable of the proxies that it believes."""


def instructions() -> list[tuple[str, str]]:
    found = []
    for line in filter(None, DOCKERFILE.replace("\\\n", "").splitlines()):
        word, _, rest = line.partition(" ")
        assert INSTRUCTIONS.fullmatch(word), line
        found.append((word, rest))
    return found


def last(word: str) -> str:
    return [rest for one, rest in instructions() if one == word][-1]


def exec_form(text: str) -> list[str]:
    """The list at the end of a `CMD`: without one, a shell would get the signals."""
    words = json.loads(text[text.index("[") :])
    assert all(isinstance(word, str) for word in words)
    return list(words)


def compose() -> dict[str, Any]:
    services = yaml.safe_load(COMPOSE)["services"]
    assert isinstance(services, dict)
    return services


def manifests() -> dict[str, dict[str, Any]]:
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFESTS)}


def pod() -> dict[str, Any]:
    template = manifests()["Deployment"]["spec"]["template"]["spec"]
    assert isinstance(template, dict)
    return template


def container() -> dict[str, Any]:
    (one,) = pod()["containers"]
    assert isinstance(one, dict)
    return one


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)s", text)
    assert found is not None, text
    return float(found[1])


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_the_image_is_made_of_what_there_is() -> None:
    words = [word for word, _ in instructions()]
    assert words[0] == "FROM"
    assert words[-1] == "CMD"
    stages = [rest.split() for word, rest in instructions() if word == "FROM"]
    assert {stage[0] for stage in stages} == {"python:3.12-slim"}
    copied = [shlex.split(rest) for word, rest in instructions() if word == "COPY"]
    assert [words[:-1] for words in copied] == [["streamguard"], ["--from=build", "/venv"], ["shop.py"]]
    assert "root" not in last("USER")


def test_each_wait_is_longer_than_the_one_inside_it() -> None:
    for words, longest in (
        (exec_form(last("CMD")), seconds(compose()["shop"]["stop_grace_period"])),
        (container()["command"], pod()["terminationGracePeriodSeconds"] - slept_before_the_end()),
    ):
        assert DRAIN_SECONDS < int(option(words, "--timeout-graceful-shutdown")) < longest


def slept_before_the_end() -> int:
    program, slept = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    return int(slept)


def test_the_pod_runs_what_the_image_runs() -> None:
    assert container()["command"] == exec_form(last("CMD"))
    assert option(container()["command"], "--port") == last("EXPOSE")


def test_manifests_name_each_other() -> None:
    of_kind = manifests()
    assert list(of_kind) == ["Deployment", "Service", "PodDisruptionBudget", "Ingress"]
    labels = of_kind["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert of_kind["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert of_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    service = of_kind["Service"]
    assert service["spec"]["selector"] == labels
    (port,) = container()["ports"]
    assert port == {"name": "http", "containerPort": int(last("EXPOSE"))}
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": port["name"]}]
    (rule,) = of_kind["Ingress"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": "http"}}
    assert of_kind["PodDisruptionBudget"]["spec"]["minAvailable"] < of_kind["Deployment"]["spec"]["replicas"]
    silence = int(of_kind["Ingress"]["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"])
    assert silence > Settings().keep_alive_seconds
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container()[probe]["httpGet"]["port"] == port["name"]


async def test_the_worker_believes_the_proxy_and_nobody_before_it() -> None:
    """A visitor who names another address is still known by the one that the proxy saw."""
    (of_pods,) = (one["value"] for one in container()["env"] if one["name"] == TRUSTED)
    of_containers = compose()["shop"]["environment"][TRUSTED]
    assert of_pods == of_containers
    seen: list[tuple[str, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["client"][0], scope["scheme"]))

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    headers = [(b"x-forwarded-for", b"192.0.2.66, 203.0.113.7"), (b"x-forwarded-proto", b"https")]
    for address in ("172.18.0.4", "10.42.1.9", "198.51.100.8"):
        scope = {"type": "http", "scheme": "http", "client": (address, 40_000), "headers": headers}
        await ProxyHeadersMiddleware(app, trusted_hosts=of_pods)(scope, receive, send)  # type: ignore[arg-type]
    assert seen == [("203.0.113.7", "https"), ("203.0.113.7", "https"), ("198.51.100.8", "http")]


def test_the_composition_s_redis_starts_with_these_options(tmp_path: Path) -> None:
    """Which `doctor` then finds fit for streams."""
    port = free_port()
    program, *options = compose()["redis"]["command"]
    assert program == "redis-server"
    words = [redis_binary(), *options, "--port", str(port), "--bind", "127.0.0.1"]
    server = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        ((_, doctor),) = blocks(TIMEOUTS, "sh")
        command = shlex.split(doctor.replace(URL.strip('"'), f"redis://127.0.0.1:{port}/0"))
        assert command[0] == "streamguard"
        said = ""

        def is_fit() -> bool:
            nonlocal said
            ran = subprocess.run(
                [sys.executable, "-m", "streamguard.cli", *command[1:]], capture_output=True, text=True, timeout=60
            )
            said = ran.stdout + ran.stderr
            return ran.returncode == 0

        wait_until(is_fit, description="doctor finds nothing", timeout=30)
        assert "0 problems, 0 warnings" in said
    finally:
        server.kill()
        server.wait(10)


@pytest.fixture
def image(tmp_path: Path, redis_url: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process of the image's `CMD`, and its port."""
    assert SHOP.count(URL) == 1
    (tmp_path / "shop.py").write_text(SHOP.replace(URL, 'os.environ["REDIS_URL"]'))
    port = free_port()
    environment = compose()["shop"]["environment"]
    assert set(environment) == {"REDIS_URL", "CHAT_SECRET", TRUSTED} == {one["name"] for one in container()["env"]}
    env = {**os.environ, "REDIS_URL": redis_url, "CHAT_SECRET": "made once for all workers"}
    command = exec_form(last("CMD"))
    command[command.index("--port") + 1] = str(port)
    command[command.index("--host") + 1] = "127.0.0.1"
    server = subprocess.Popen([sys.executable, "-m", *command], cwd=tmp_path, env=env)
    try:
        wait_until(lambda: is_healthy(port), description="the health check passes", timeout=30)
        yield server, port
    finally:
        if server.poll() is None:
            server.kill()
        server.wait(10)


def is_healthy(port: int) -> bool:
    """The image's own `HEALTHCHECK`."""
    command = exec_form(last("HEALTHCHECK"))
    assert command[0] == "python"
    code = command[2].replace(":8000/", f":{port}/")
    env = {**os.environ, "no_proxy": "localhost"}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=30).returncode == 0


def answers(port: int, path: str) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=10).status_code == 200


async def test_the_image_s_command_answers_probes_and_ends(image: tuple[subprocess.Popen[bytes], int]) -> None:
    server, port = image
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert answers(port, container()[probe]["httpGet"]["path"]), probe
    async with post_chat(port, "c1", "Hello") as answer:
        await answer.read_rest()
        assert (answer.status, answer.ending) == (200, Ending.CLEAN)
    server.send_signal(getattr(signal, last("STOPSIGNAL")))
    assert server.wait(30) in (0, -signal.SIGTERM)


def test_the_page_s_defaults_are_the_settings() -> None:
    text = Path(__file__).resolve().parents[2].joinpath(TIMEOUTS).read_text()
    settings = Settings()
    shown = re.findall(r"^\| `(\w+_seconds)` \| ([\d,.]+) \|", text, re.M)
    shown += re.findall(r"`(\w+)`\s+\(([\d,.]+)\)", text)
    assert len(shown) > 10
    for name, value in shown:
        assert getattr(settings, name) == float(value.replace(",", "")), name
    assert f"every {settings.keep_alive_seconds:g} seconds" in text
