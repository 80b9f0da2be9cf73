"""What is known of a cluster, for event loops of several threads that share a store."""

from __future__ import annotations

from streamguard.errors import StoreUnavailableError
from streamguard.stores.redis.address import ClusterAddress
from streamguard.stores.redis.cluster import Cluster, ClusterServer
from streamguard.stores.redis.scripts import Scripts
from streamguard.stores.redis.slot_map import Place

from ...harness.racing import raced

LOOPS = 4
ROUNDS = 10


def cluster() -> Cluster:
    return Cluster(ClusterAddress("redis+cluster://127.0.0.1:7001"), Scripts({}), command_seconds=0)


def test_loops_that_find_a_server_at_once_share_it() -> None:
    for _ in range(ROUNDS):
        known = cluster()

        async def find() -> list[ClusterServer]:
            found = []
            for port in range(7001, 7051):
                found.append(known.at(Place("127.0.0.1", port)))  # noqa: B023 -- run in this round
                assert known.addresses()  # noqa: B023
                assert not known.partly_down  # noqa: B023
            return found

        first, *others = raced([find] * LOOPS)
        assert others == [first] * (LOOPS - 1)
        assert known.known_servers() == first


def test_loops_that_ask_a_server_at_once_agree_how_it_is() -> None:
    for _ in range(ROUNDS):
        server = cluster().at(Place("127.0.0.1", 7001))

        async def ask() -> None:
            for number in range(400):
                try:
                    with server.asked():  # noqa: B023 -- run in this round
                        assert server.failing in (True, False)  # noqa: B023
                        if number % 2:
                            raise StoreUnavailableError("no answer", operation="ask")
                except StoreUnavailableError:
                    pass

        raced([ask] * LOOPS)
        server.answered()
        assert server.answers
