"""One tiny run of the real thing: every event arrives, logged, and the report has its shape. Nothing is timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.__main__ import main
from benchmarks.beside import compare
from benchmarks.cells import cells_of
from benchmarks.monitor import SentCommands
from benchmarks.plan import Sizes
from benchmarks.processes import BenchmarkError
from benchmarks.recording import load

from ..harness.redis import RedisServer
from ..harness.redis_binaries import redis_binary

pytestmark = pytest.mark.processes

TINY = Sizes(
    rounds=1,
    turns=3,
    burst_events=40,
    burst_streams=3,
    one_by_one=2,
    paced_streams=4,
    paced_events=(10, 20),
    few_streams=2,
    short_streams=2,
    viewers=3,
    viewers_gap_seconds=0.02,
    viewers_events=80,
    replay_events=60,
    replays=2,
    browser_streams=1,
    capacity=((3, 10, 0.02),),
    passing_requests=400,
    telemetry_events=20,
    replays_at_once=3,
    long_replay_events=50,
    storm_streams=5,
    storm_events=12,
    idle_streams=(3,),
    growth_streams=(2, 3),
    finished_sessions=10,
)


def test_a_tiny_run_delivers_every_event_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    redis_binary()  # skips, or fails in CI, with the install command
    cells = ["burst-1", "paced-10-20-2", "viewers-elsewhere", "replay-50", "storm", "counts-2", "counts-2-full"]

    code = main(["--only", *cells, "--contenders", "bare", "plain", "--out", str(tmp_path)], sizes=TINY)

    printed = capsys.readouterr()
    assert code == 0, printed.out + printed.err
    table = (tmp_path / "report.md").read_text()
    assert table in printed.out
    record = load(tmp_path / "report.json")
    assert {result.cell.name for result in record.cells} == set(cells)
    by_name = {result.cell.name: result.contenders for result in record.cells}
    assert not [one.problems for found in by_name.values() for one in found.values() if one.problems]
    for name in ("bare", "plain"):
        assert by_name["burst-1"][name].rounds[0].events == 2 * 40
        (paced,) = by_name["paced-10-20-2"][name].rounds
        assert (paced.turns, paced.events, paced.responses) == (3, 3 * 4 * 10, 3 * 4)
        assert by_name["replay-50"][name].rounds[0].events == 3 * 60
    assert (by_name["burst-1"]["plain"].commands or {}).get("evalsha")
    few, full = (by_name[name]["plain"].keys_per_stream for name in ("counts-2", "counts-2-full"))
    assert few is not None
    assert full is not None
    assert abs(few - full) * 2 <= 4  # keys that streams share: indexes, of which two streams may use other parts
    assert {row.cell for row in record.rows} == set(cells)


def test_every_form_of_streamguard_is_whole_and_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    redis_binary()

    code = main(["--only", "burst-1", "--contenders", "response", "middleware", "--out", str(tmp_path)], sizes=TINY)

    printed = capsys.readouterr()
    assert code == 0, printed.out + printed.err


def test_streams_are_whole_with_every_observer_and_with_none(tmp_path: Path) -> None:
    cells = ["telemetry", "telemetry-alone"]

    code = main(["--only", *cells, "--out", str(tmp_path)], sizes=TINY)

    record = load(tmp_path / "report.json")
    measured = {
        (result.cell.name, name): found.rounds[0]
        for result in record.cells
        for name, found in result.contenders.items()
    }
    assert {key: one.problems for key, one in measured.items()} == {
        (name, contender): [] for name in cells for contender in ("bare", "plain-memory")
    }
    assert all(one.stream_cpu_us and one.stream_cpu_us > 0 for one in measured.values())
    assert code == 0


def test_an_unknown_cell_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "burst", "--out", str(tmp_path)]) == 2
    assert "burst-100" in capsys.readouterr().out


def test_only_what_clients_send_is_counted_as_sent(redis_server: RedisServer, redis_database: int) -> None:
    client = redis_server.client(redis_database)
    client.ping()

    with SentCommands(redis_server.port) as sent:
        client.eval("for i = 1, 5 do redis.call('SET', KEYS[1], i, 'PX', 10000) end", 1, "k")
        client.set("k", 1, px=10_000)

    assert sent.counts == {"eval": 1, "set": 1}


def test_a_version_is_compared_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    redis_binary()

    code = main(["--only", "paced-10-20-2", "--against", "HEAD", "--rounds", "2"], sizes=TINY)

    printed = capsys.readouterr()
    assert code == 0, printed.out + printed.err
    assert "| paced-10-20-2, plain | " in printed.out
    assert " | 2 |" in printed.out


def test_a_long_answer_of_a_load_is_read_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than a pipe holds, while the answer of another load is read first."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    large = replace(TINY, burst_streams=20, burst_events=1_000)
    versions = ["--against", "HEAD", "--contenders", "plain-memory", "--rounds", "1"]

    code = main(["--only", "burst-100", *versions], sizes=large)

    printed = capsys.readouterr()
    assert code == 0, printed.out + printed.err


def test_the_other_version_is_what_answers(tmp_path: Path) -> None:
    package = tmp_path / "streamguard"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('the other version')")
    (cell,) = (cell for cell in cells_of(TINY) if cell.name == "paced-10-20-2")

    with pytest.raises(BenchmarkError, match="the other version"):
        compare(cell, ["plain-memory"], tmp_path, rounds=1, say=print)


def test_what_cannot_be_compared_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "storm", "--against", "HEAD"], sizes=TINY) == 2
    assert "storm" in capsys.readouterr().out
    assert main(["--only", "burst-1", "--against", "HEAD", "--contenders", "bare", "plain"], sizes=TINY) == 2
    assert "bare is without it" in capsys.readouterr().out
    assert main(["--only", "burst-1", "--against", "no-such-commit"], sizes=TINY) == 2
    assert "no-such-commit" in capsys.readouterr().err
