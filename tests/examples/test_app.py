"""The example's endpoint, users, providers and telemetry, over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ..harness.ports import free_port
from ..harness.waiting import wait_until
from ..harness.workers import Worker
from ..telemetry.receiver import receiving
from .live import FRAMEWORKS, SHARED, Framework, chat_body, directory_of, example, scripted_answer
from .outside import outside


@pytest.fixture(scope="module", params=FRAMEWORKS)
def live(request: pytest.FixtureRequest) -> Iterator[Worker]:
    with example(request.param, gap_ms=1) as worker:
        yield worker


@pytest.fixture
def visitor(live: Worker) -> Iterator[httpx.Client]:
    """A browser's cookie jar, before the first visit."""
    with httpx.Client(base_url=live.url, trust_env=False) as client:
        yield client


@pytest.fixture
def session() -> str:
    return uuid.uuid4().hex


def _text(stream: str) -> str:
    parts = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    return "".join(part["delta"] for part in parts if part["type"] == "text-delta")


@pytest.mark.parametrize("prompt", ["Hello", "!long 123", "!slow 2"])
def test_it_answers_in_ui_message_parts(visitor: httpx.Client, session: str, prompt: str) -> None:
    answer = visitor.post("/api/chat", json=chat_body(session, prompt))
    assert answer.status_code == 200
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert _text(answer.text) == scripted_answer(prompt)
    assert answer.text.count('"text-delta"') >= 40


def test_the_last_question_is_answered(visitor: httpx.Client, session: str) -> None:
    body = chat_body(session, "first") | {
        "messages": [
            {"id": "1", "role": "user", "parts": [{"type": "text", "text": "first"}]},
            {"id": "2", "role": "assistant", "parts": [{"type": "step-start"}, {"type": "text", "text": "x"}]},
            {"id": "3", "role": "user", "parts": [{"type": "text", "text": "sec"}, {"type": "text", "text": "ond"}]},
        ]
    }
    assert _text(visitor.post("/api/chat", json=body).text) == scripted_answer("second")


@pytest.mark.parametrize("body", ["{}", "[", '{"id":"a","messages":[]}', '{"id":1,"messages":"\\ud800 secret"}'])
def test_a_body_of_another_shape_is_refused_and_not_repeated(visitor: httpx.Client, body: str) -> None:
    refused = visitor.post("/api/chat", content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "request_invalid"
    assert "secret" not in refused.text


def test_half_a_surrogate_pair_is_answered_like_any_text(
    visitor: httpx.Client, session: str, request: pytest.FixtureRequest
) -> None:
    body = json.dumps(chat_body(session, "half \ud83c"))
    answer = visitor.post("/api/chat", content=body, headers={"content-type": "application/json"})
    if "litestar" in request.node.name:  # it is no JSON to msgspec
        assert answer.status_code == 422
        return
    assert _text(answer.text) == scripted_answer("half \ud83c").replace("\ud83c", "\ufffd")


def test_a_visitor_is_known_by_a_cookie_that_cannot_be_made_up(visitor: httpx.Client, session: str) -> None:
    visitor.post("/api/chat", json=chat_body(session, "Hello"))
    (cookie,) = visitor.cookies.jar
    assert cookie.value is not None
    assert cookie.has_nonstandard_attr("HttpOnly")
    mine = visitor.get(f"/api/chat/{session}").json()
    assert mine["last"]["outcome"] == "completed"

    forged = {cookie.name: cookie.value[:-2] + ("aa" if cookie.value[-2:] != "aa" else "bb")}
    for cookies, headers in ((None, None), (None, {"x-user": "somebody"}), (forged, None)):
        with httpx.Client(base_url=visitor.base_url, trust_env=False, cookies=cookies, headers=headers) as other:
            assert other.get(f"/api/chat/{session}").json()["last"] is None


def test_the_header_counts_only_where_it_is_trusted(session: str) -> None:
    with example(gap_ms=1, DEMO_TRUST_X_USER="") as worker:
        header = {"x-user": "mallory"}
        with httpx.Client(base_url=worker.url, trust_env=False, headers=header) as first:
            first.post("/api/chat", json=chat_body(session, "Hello"))
            assert first.get(f"/api/chat/{session}").json()["last"] is not None
        with httpx.Client(base_url=worker.url, trust_env=False, headers=header) as second:
            assert second.get(f"/api/chat/{session}").json()["last"] is None


def test_a_silent_model_ends_as_stalled(session: str) -> None:
    with example(gap_ms=1, STREAMGUARD_SETTINGS='{"stall_seconds": 0.3}') as worker:
        stream = httpx.post(f"{worker.url}/api/chat", json=chat_body(session, "!hang"), trust_env=False).text
    assert _text(stream) == scripted_answer("!hang")
    assert '"code":"stalled"' in stream
    assert stream.rstrip().endswith("data: [DONE]")


def test_the_page_may_load_and_reach_nothing_but_this_server(visitor: httpx.Client) -> None:
    page = visitor.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    files = sorted(path for path in (SHARED / "static").iterdir() if path.name != "index.html")
    for path in files:
        served = visitor.get(f"/static/{path.name}")
        assert served.content == path.read_bytes()
        assert "javascript" in served.headers["content-type"] or path.suffix != ".mjs"
    for path in [*files, SHARED / "static" / "index.html"]:
        source = path.read_text()
        assert "innerHTML" not in source
        assert "://" not in source.replace("http://www.w3.org/2000/svg", "").replace("https://html.spec.whatwg.org", "")


def test_with_a_key_a_real_model_answers_and_the_commands_still_fail(session: str) -> None:
    with outside() as world, example(OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=world.openai_url) as worker:
        answer = httpx.post(f"{worker.url}/api/chat", json=chat_body(session, "Hello"), trust_env=False)
        assert _text(answer.text) == "Real models speak too."
        (request,) = world.completions
        assert request["messages"] == [{"role": "user", "content": "Hello"}]
        assert request["stream"] is True
        refused = httpx.post(f"{worker.url}/api/chat", json=chat_body(session, "!error-first"), trust_env=False)
        assert refused.json()["error"]["phase"] == "provider"
        assert len(world.completions) == 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_sentry_hears_of_a_fault_without_its_content(framework: Framework, session: str) -> None:
    prompt = f"a question nobody else may read {uuid.uuid4()}"
    body = chat_body(session, "!crash")
    assert isinstance(body["messages"], list)
    body["messages"].insert(0, {"id": "0", "role": "user", "parts": [{"type": "text", "text": prompt}]})
    settings = json.dumps({"lease_seconds": 0.5, "heartbeat_seconds": 0.1, "sweep_seconds": 0.1})
    with (
        receiving() as sentry,
        example(
            framework,
            gap_ms=1,
            SENTRY_DSN=sentry.dsn,
            SENTRY_TRACES_SAMPLE_RATE="1",
            STREAMGUARD_SETTINGS=settings,
        ) as worker,
    ):
        httpx.post(f"{worker.url}/api/chat", json=body, trust_env=False)
        sentry.wait_for(lambda items: {"event", "transaction", "check_in"} <= {item.type for item in items})
        worker.terminate()
        worker.wait_exit(20)  # Sentry's client sends what it still has when the process ends
        items = sentry.items(flush=False)
        (event,) = [item.payload for item in items if item.type == "event"]
        assert event["tags"] == {
            "phase": "provider",
            "code": "provider_error",
            "outcome": "failed",
            "protocol": "ui-message",
            "framework": framework,
            "signal": "streamguard.fault",
        }
        traced = [item.payload for item in items if item.type == "transaction"]
        (stream,) = [one for one in traced if one["transaction"] == "streamguard.stream"]
        trace = stream["contexts"]["trace"]["trace_id"]
        assert event["contexts"]["trace"]["trace_id"] == trace
        assert len([one for one in traced if one["contexts"]["trace"]["trace_id"] == trace]) == 2
        assert prompt not in sentry.text()
        assert scripted_answer("!crash") not in sentry.text()


@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
def test_chats_are_kept_in_another_database(database: str, session: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres_server" if database == "postgresql" else "mariadb_server")
    with example(gap_ms=1, DEMO_DATABASE_URL=server.url()) as worker:
        with httpx.Client(base_url=worker.url, trust_env=False) as visitor:
            visitor.post("/api/chat", json=chat_body(session, "Hello"))
            worker.terminate()
            worker.wait_exit(20)
            worker.start()
            kept = visitor.get(f"/api/chat/{session}/messages").json()["messages"]
        assert [message["role"] for message in kept] == ["user", "assistant"]
        assert kept[1]["parts"][0]["text"] == scripted_answer("Hello")
        assert not worker.database.exists()


@pytest.mark.parametrize(("framework", "home"), [("fastapi", "usual"), ("fastapi", "none"), ("litestar", "usual")])
def test_python_main_py_serves_it_from_any_directory(
    framework: Framework, home: str, session: str, tmp_path: Path
) -> None:
    """Also where nothing of the user's own may be written: then chats last as long as the process."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if name != "XDG_STATE_HOME"}
    environment = {
        **kept,
        "DEMO_DATABASE_URL": "",
        "DEMO_GAP_MS": "1",
        "HOME": str(tmp_path) if home == "usual" else "/dev/null",
        "HOST": "127.0.0.1",
        "OPENAI_API_KEY": "",
        "OPENAI_BASE_URL": "",
        "PORT": str(port),
        "STREAMGUARD_URL": "memory://",
        "TMPDIR": str(tmp_path / "temporary"),
    }
    (tmp_path / "temporary").mkdir()
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, str(directory_of(framework) / "main.py")],
        cwd="/",
        env=environment,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:

            def served() -> bool:
                assert process.poll() is None
                try:
                    return httpx.get(f"{url}/", trust_env=False).status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(served, description="the page is served", timeout=45)
            with httpx.Client(base_url=url, trust_env=False) as visitor:
                answer = visitor.post("/api/chat", json=chat_body(session, "Hello"))
                assert '"data-streamguard-persisted"' in answer.text
        finally:
            process.terminate()
            process.wait(10)
    (found,) = tmp_path.rglob("chats.db")
    assert (found.parent.parent.name == "state") == (home == "usual")
    assert found.parent.stat().st_mode & 0o077 == 0
    assert found.with_name("secret").stat().st_mode & 0o077 == 0
