"""Random ids: never the same twice, also after a fork."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamguard.random_ids import random_hex


def test_an_id_is_24_hex_digits() -> None:
    assert re.fullmatch("[0-9a-f]{24}", random_hex())


def test_no_two_are_the_same_in_many_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [random_hex() for _ in range(500)], range(8)))
    assert len({one for some in made for one in some}) == 4_000


@pytest.mark.processes
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_makes_others() -> None:
    random_hex()  # others are ready now
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, random_hex().encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs = pipe.read()
    os.waitpid(child, 0)
    assert len(theirs) == 24
    assert theirs not in {random_hex() for _ in range(64)}
