"""`streamguard-client`, as npm packs it: with each release of AI SDK and without, in Node and in a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..harness.workers import Worker
from .packed import installed_client
from .test_clients import node, run_script

__all__ = ["node"]

SETTINGS = json.dumps(
    {
        "command_seconds": 10.0,
        "registration_seconds": 15.0,
        "max_streams_per_owner": 100,
        "max_resumes_per_minute": 10_000,
    }
)


@pytest.fixture(scope="session")
def client(node: str) -> Path:
    """The `node_modules` that the packed client is installed in."""
    return installed_client(shutil.which("npm") or "npm")


@pytest.fixture(scope="module")
def live(request: pytest.FixtureRequest) -> Iterator[Worker]:
    url = "memory://" if request.param == "memory" else request.getfixturevalue("redis_server").database_url(0)
    environment = {"STREAMGUARD_URL": url, "STREAMGUARD_SETTINGS": SETTINGS}
    with Worker("tests.apps.client_chat:app", env=environment) as worker:
        yield worker


def environment_of(worker: Worker, client: Path) -> dict[str, str]:
    entry = (client / "streamguard-client" / "dist" / "index.js").as_uri()
    return {"APP_URL": worker.url, "APP_WITHOUT_STORE_URL": worker.url, "ANSWERS": "{}", "STREAMGUARD_CLIENT": entry}


@pytest.mark.parametrize("live", ["redis"], indirect=True)
def test_as_the_transport_of_use_chat(node: str, client: Path, live: Worker) -> None:
    run_script(node, "packed_client.test.mjs", environment_of(live, client))


def test_answers_that_continue_a_message(node: str, client: Path) -> None:
    with Worker("tests.apps.booking:app", env={"STREAMGUARD_URL": "memory://", "STREAMGUARD_SETTINGS": "{}"}) as worker:
        run_script(node, "continued.test.mjs", environment_of(worker, client))


@pytest.mark.parametrize("live", ["memory", "redis"], indirect=True)
def test_without_ai_sdk(node: str, client: Path, live: Worker) -> None:
    run_script(node, "open_stream.test.mjs", environment_of(live, client))


@pytest.mark.parametrize("live", ["memory"], indirect=True)
def test_its_connections(node: str, client: Path, live: Worker) -> None:
    run_script(node, "connections.test.mjs", environment_of(live, client))
