"""The audit trail in a file: nothing is lost silently, nothing is torn, and no thread is left."""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamguard.telemetry.audit import Actor, AuditAction, AuditRecord, AuditTrail, ClosableSink, JsonLinesAudit

from ..harness.waiting import wait_until
from .observed import Worker

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WAIT = 10.0


def one(number: int = 1) -> AuditRecord:
    return AuditRecord(at=AT, action=AuditAction.START, actor=Actor.OWNER, stream_id=str(number))


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "streamguard-audit"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threads())
    yield
    gc.collect()
    wait_until(lambda: not set(threads()) - before, description="the audit's threads to end")


@contextmanager
def appending(path: str | Path, *, fsync: bool = False, capacity: int = 10_000) -> Iterator[JsonLinesAudit]:
    sink = JsonLinesAudit(path, fsync=fsync, capacity=capacity)
    try:
        yield sink
    finally:
        sink.close(WAIT)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message.split()[0] for message in caplog.messages]


def test_records_are_appended_to_a_file_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"action":"before"}\n')
    sink: ClosableSink
    with appending(path, fsync=True) as sink:
        sink.write(one())
    assert [line["action"] for line in lines(path)] == ["before", "start"]
    with appending(tmp_path / "new.jsonl", fsync=True) as sink:
        sink.write(one())
    assert (tmp_path / "new.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_file_that_may_not_be_read_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.touch(mode=0o200)
    with appending(path) as sink:
        sink.write(one())
    path.chmod(0o600)
    assert [line["action"] for line in lines(path)] == ["start"]


# -- the thread --------------------------------------------------------------------------------------------------------


def test_the_thread_ends_when_the_sink_is_closed_which_may_be_written_to_again(tmp_path: Path) -> None:
    sink = JsonLinesAudit(tmp_path / "audit.jsonl")
    for number in (1, 2):
        sink.write(one(number))
        assert threads()
        assert sink.close(WAIT)
        assert not threads()
    assert [line["stream_id"] for line in lines(tmp_path / "audit.jsonl")] == ["1", "2"]


def test_the_thread_ends_when_the_sink_is_garbage(tmp_path: Path) -> None:
    sink = JsonLinesAudit(tmp_path / "audit.jsonl")
    sink.write(one())
    (thread,) = threads()
    assert thread.daemon
    del sink
    gc.collect()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert [line["stream_id"] for line in lines(tmp_path / "audit.jsonl")] == ["1"]


def test_even_when_the_file_cannot_be_written_and_tells_of_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    sink = JsonLinesAudit("/dev/full")
    sink.write(one())
    (thread,) = threads()
    assert not sink.flush(0.05)
    del sink
    gc.collect()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert told(caplog) == ["streamguard.audit_failed", "streamguard.audit_lost"]
    assert "lost=1" in caplog.text


def test_the_thread_ends_when_nothing_was_written_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamguard.telemetry.audit.line_writer.IDLE_SECONDS", 0.05)
    sink = JsonLinesAudit(tmp_path / "audit.jsonl")
    for number in (1, 2):
        sink.write(one(number))
        wait_until(lambda: not threads(), description="the idle thread to end")
    assert [line["stream_id"] for line in lines(tmp_path / "audit.jsonl")] == ["1", "2"]


@pytest.mark.anyio
async def test_a_guard_that_stops_closes_its_trail(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = JsonLinesAudit(path)
    worker = Worker(observers=(AuditTrail(sink),))
    async with worker.running() as chat:
        await worker.whole(chat)
        assert threads()
    assert not threads()
    assert [line["action"] for line in lines(path)][:1] == ["start"]


def test_a_thread_that_waits_for_the_disk_costs_no_processor(tmp_path: Path) -> None:
    with appending(tmp_path / "gone" / "audit.jsonl") as sink:
        sink.write(one())
        assert not sink.flush(0.05)
        before = resource.getrusage(resource.RUSAGE_SELF)
        for number in range(100):  # more records do not hurry it
            sink.write(one(number))
        assert not sink.close(0.2)
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert after.ru_nvcsw - before.ru_nvcsw < 300
        (tmp_path / "gone").mkdir()


def test_where_no_thread_can_be_started_records_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = JsonLinesAudit(tmp_path / "audit.jsonl")
    with monkeypatch.context() as without_threads:

        def start(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        without_threads.setattr(threading.Thread, "start", start)
        sink.write(one(1))
        assert not sink.close(WAIT)
    sink.write(one(2))
    assert sink.close(WAIT)
    assert [line["stream_id"] for line in lines(tmp_path / "audit.jsonl")] == ["1", "2"]


@pytest.mark.long
def test_the_end_of_the_process_writes_what_is_left(tmp_path: Path) -> None:
    program = f"""
from datetime import UTC, datetime
from streamguard.telemetry.audit import *
sink = JsonLinesAudit({os.fspath(tmp_path / "audit.jsonl")!r})
full = JsonLinesAudit("/dev/full")
for number in range(100):
    record = AuditRecord(at=datetime.now(UTC), action=AuditAction.START, actor=Actor.OWNER, stream_id=str(number))
    sink.write(record)
    full.write(record)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert [line["stream_id"] for line in lines(tmp_path / "audit.jsonl")] == [str(number) for number in range(100)]
    assert "streamguard.audit_lost" in done.stderr
    assert "lost=100" in done.stderr


@pytest.mark.long
def test_a_forked_child_writes_its_own_records_only(tmp_path: Path) -> None:
    program = f"""
import os
from datetime import UTC, datetime
from streamguard.telemetry.audit import *
def write(number):
    sink.write(AuditRecord(at=datetime.now(UTC), action=AuditAction.START, actor=Actor.OWNER, stream_id=str(number)))
sink = JsonLinesAudit({os.fspath(tmp_path / "audit.jsonl")!r})
write(1)
assert sink.flush(10)
if (child := os.fork()) == 0:
    write(2)
    assert sink.close(10)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
write(3)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert [line["stream_id"] for line in lines(tmp_path / "audit.jsonl")] == ["1", "2", "3"]


# -- rotation, and several processes -----------------------------------------------------------------------------------


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    with appending(path) as sink:
        for number in (1, 2):
            sink.write(one(number))
            assert sink.flush(WAIT)
            if number == 1:
                path.rename(old)
    assert [line["stream_id"] for line in [*lines(old), *lines(path)]] == ["1", "2"]


def test_a_file_that_was_copied_and_truncated_is_continued(tmp_path: Path) -> None:
    """logrotate's `copytruncate`."""
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    with appending(path) as sink:
        for number in (1, 2):
            sink.write(one(number))
            assert sink.flush(WAIT)
            if number == 1:
                shutil.copy(path, old)
                os.truncate(path, 0)
    assert [line["stream_id"] for line in [*lines(old), *lines(path)]] == ["1", "2"]


def test_a_line_that_was_torn_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"action":"sta')
    with appending(path) as sink:
        sink.write(one())
    torn, whole = path.read_text().splitlines()
    assert torn == '{"action":"sta'
    assert json.loads(whole)["action"] == "start"


@pytest.mark.long
@pytest.mark.parametrize("limit", [100, 1000])
def test_a_disk_that_takes_a_part_of_a_line_loses_none(tmp_path: Path, limit: int) -> None:
    """A limit on the file's size, as a full disk: what fits is written, of the last line a part."""
    path = tmp_path / "audit.jsonl"
    program = f"""
import resource, signal
from datetime import UTC, datetime
from streamguard.telemetry.audit import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
sink = JsonLinesAudit({os.fspath(path)!r})
for number in range(20):
    sink.write(AuditRecord(at=datetime.now(UTC), action=AuditAction.START, actor=Actor.OWNER, stream_id=str(number)))
assert not sink.flush(0.5)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert sink.close(10)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    whole = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    assert [line["stream_id"] for line in whole] == [str(number) for number in range(20)]


def _append(path: str, begin: int) -> None:
    with appending(path) as sink:
        for number in range(begin, begin + 300):
            sink.write(one(number))


@pytest.mark.long
def test_several_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append, args=(os.fspath(path), begin)) for begin in (0, 1000)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted(int(line["stream_id"]) for line in lines(path)) == [*range(300), *range(1000, 1300)]


# -- a file that cannot be written -------------------------------------------------------------------------------------


def test_a_full_disk_hurts_nobody_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with appending("/dev/full", capacity=5) as sink:
        for number in range(100):
            sink.write(one(number))
        assert not sink.flush(0.2)
        assert sink.dropped >= 90
        assert told(caplog).count("streamguard.audit_failed") == 1
        assert told(caplog).count("streamguard.audit_dropped") == 1
        assert not sink.close(WAIT)
        assert "streamguard.audit_left" in told(caplog)


def test_what_waits_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamguard.telemetry.audit.line_writer.MAX_BYTES", 1000)
    with appending("/dev/full") as sink:
        for number in range(100):
            sink.write(one(number))
        assert sink.dropped > 50  # what is being written, and what came meanwhile, is within the bound each


def test_records_wait_for_a_file_that_can_be_written_again_and_gaps_are_marked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path = tmp_path / "later" / "audit.jsonl"
    with appending(path, capacity=2) as sink:
        sink.write(one(1))
        assert not sink.flush(0.05)
        for number in (2, 3, 4):
            sink.write(one(number))
        assert sink.dropped == 2
        path.parent.mkdir()
        assert sink.flush(WAIT)
        sink.write(one(5))
    assert [line.get("stream_id") or f"{line['action']} of {line['count']}" for line in lines(path)] == [
        "1",
        "2",
        "gap of 2",
        "5",
    ]
    assert "streamguard.audit_recovered" in caplog.text


def test_records_that_were_left_at_a_close_are_written_after_the_next(tmp_path: Path) -> None:
    path = tmp_path / "later" / "audit.jsonl"
    sink = JsonLinesAudit(path)
    sink.write(one(1))
    assert not sink.close(WAIT)
    assert not threads()
    path.parent.mkdir()
    sink.write(one(2))
    assert sink.close(WAIT)
    assert [line["stream_id"] for line in lines(path)] == ["1", "2"]


@pytest.mark.anyio
async def test_a_trail_whose_sink_cannot_write_hurts_no_stream() -> None:
    sink = JsonLinesAudit("/dev/full", capacity=1)
    worker = Worker(observers=(AuditTrail(sink),))
    async with worker.running() as chat:
        answer = await worker.whole(chat)
        assert (await chat.ended(answer)).fields["outcome"] == "completed"
    assert not threads()
