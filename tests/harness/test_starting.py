"""Processes forked by the template are as fresh ones are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryFile

import pytest

import streamguard

from .starting import Process, started
from .waiting import wait_until

SAYS = """
import json, os, signal, sys
told = sys.stdin.read()
print(json.dumps({
    "told": told, "arguments": sys.argv[1:], "name": __name__, "here": os.getcwd(), "path": sys.path[:2],
    "environment": dict(os.environ), "pid": os.getpid(), "open": os.listdir("/proc/self/fd"),
    "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
}))
print("and", file=sys.stderr)
sys.exit(3)
"""

ENDS = """
import atexit, sys, threading, time
atexit.register(print, "last")
threading.Thread(target=lambda: (threading.main_thread().join(), print("thread"))).start()
print("first")
if code := sys.argv[1]: sys.exit(eval(code))
"""

WAITS = """
import signal
print("there", flush=True)
signal.pause()
"""


@pytest.fixture
def env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": "", "STREAMGUARD_TOLD": "é"}


def module(directory: Path, text: str) -> str:
    (directory / "said_by_it.py").write_text(text)
    return "said_by_it"


def waiting(directory: Path, env: dict[str, str]) -> Process:
    with TemporaryFile() as out:
        process = started(module(directory, WAITS), [], env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=out)
        wait_until(lambda: out.seek(0) == 0 and out.read() == b"there\n", description="it has begun")
    return process


def test_it_has_what_it_was_given_and_nothing_of_others(tmp_path: Path, env: dict[str, str]) -> None:
    other = waiting(tmp_path, env)
    with TemporaryFile() as told, TemporaryFile() as out, TemporaryFile() as err:
        told.write(b"hello")
        told.seek(0)
        name = module(tmp_path, SAYS)
        process = started(name, ["a", "-b"], env=env, cwd=tmp_path, stdin=told.fileno(), stdout=out, stderr=err)
        assert process.wait(20) == 3
        assert process.poll() == 3
        assert (err.seek(0), err.read()) == (0, b"and\n")
        out.seek(0)
        said = json.loads(out.read())
    assert said["told"] == "hello"
    assert said["arguments"] == ["a", "-b"]
    assert said["name"] == "__main__"
    assert said["here"] == str(tmp_path)
    assert said["path"][0] == str(tmp_path)
    # What coverage and the C library add is not ours.
    assert {key: value for key, value in said["environment"].items() if key in env} == env
    assert said["pid"] == process.pid
    assert len(said["open"]) <= 8  # its streams, the listing itself, coverage's data
    assert said["interrupt"] is True
    other.kill()
    assert other.wait(20) == -signal.SIGKILL


def test_it_ends_by_the_signal_it_is_sent(tmp_path: Path, env: dict[str, str]) -> None:
    process = waiting(tmp_path, env)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM
    process.kill()  # it may be gone already


@pytest.mark.parametrize(
    ("ends", "code", "said"), [("", 0, b""), ("None", 0, b""), ("7", 7, b""), ("-1", 255, b""), ("'no'", 1, b"no\n")]
)
@pytest.mark.parametrize("fresh", [False, True])
def test_its_threads_and_what_it_does_at_exit_come_to_their_end(
    tmp_path: Path, env: dict[str, str], ends: str, code: int, said: bytes, fresh: bool
) -> None:
    """However short its end is."""
    with TemporaryFile() as out, TemporaryFile() as err:
        name, nothing = module(tmp_path, ENDS), subprocess.DEVNULL
        process = started(name, [ends], env=env, cwd=tmp_path, stdin=nothing, stdout=out, stderr=err, fresh=fresh)
        assert process.wait(20) == code
        assert (out.seek(0), out.read()) == (0, b"first\nthread\nlast\n")
        assert (err.seek(0), err.read()) == (0, said)


@pytest.mark.parametrize("fresh", [False, True])
def test_output_that_nobody_takes_is_a_failure(tmp_path: Path, env: dict[str, str], fresh: bool) -> None:
    with Path("/dev/full").open("wb") as out, TemporaryFile() as err:
        text = "import sys; sys.stdout = open(1, 'w', closefd=False); print('lost')"  # with a buffer in any case
        name, nothing = module(tmp_path, text), subprocess.DEVNULL
        process = started(name, [], env=env, cwd=tmp_path, stdin=nothing, stdout=out, stderr=err, fresh=fresh)
        assert process.wait(20) == 120
        assert (err.seek(0), b"No space left on device" in err.read()) == (0, True)


def test_what_it_raises_is_said_and_its_code_is_one(tmp_path: Path, env: dict[str, str]) -> None:
    with TemporaryFile() as out:
        name = module(tmp_path, "raise ValueError('no')")
        process = started(name, [], env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out)
        assert process.wait(20) == 1
        assert (out.seek(0), out.read().rstrip().endswith(b"ValueError: no")) == (0, True)


def test_a_fresh_one_has_imported_nothing(tmp_path: Path, env: dict[str, str]) -> None:
    with TemporaryFile() as out:
        name = module(tmp_path, "import sys; print('streamguard' in sys.modules)")
        for fresh in (False, True):
            process = started(name, [], env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out, fresh=fresh)
            assert process.wait(20) == 0
        assert (out.seek(0), out.read()) == (0, b"True\nFalse\n")


def test_another_variable_of_pythons_own_takes_a_fresh_process(tmp_path: Path, env: dict[str, str]) -> None:
    with TemporaryFile() as out:
        name = module(tmp_path, "import sys; print(sys.flags.optimize)")
        fresh = {**env, "PYTHONOPTIMIZE": "2"}
        process = started(name, [], env=fresh, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out)
        assert process.wait(20) == 0
        assert isinstance(process, subprocess.Popen)
        assert (out.seek(0), out.read()) == (0, b"2\n")


def test_it_imports_the_package_under_test(tmp_path: Path, env: dict[str, str]) -> None:
    """That of a second checkout too, which is not the one that is installed."""
    with TemporaryFile() as out:
        text = "import streamguard; print(streamguard.__file__)"
        process = started(module(tmp_path, text), [], env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out)
        assert process.wait(60) == 0
        out.seek(0)
        assert out.read().decode().strip() == streamguard.__file__
