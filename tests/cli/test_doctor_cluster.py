"""`streamguard doctor` on a cluster: every master is looked at, also when one of them is silent."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ..harness.redis_cluster import RedisCluster
from .running import ran

pytestmark = pytest.mark.anyio


async def test_every_master_of_a_cluster_is_looked_at(redis_cluster: RedisCluster, redis_cluster_url: str) -> None:
    done = ran("doctor", redis_cluster_url, "--json")
    assert done.code == 0, done.out
    kinds = [check for check in json.loads(done.out)["checks"] if check["check"] == "kind"]
    places = [f"(at redis://127.0.0.1:{node.public_port})" for node in redis_cluster.masters()]
    assert sorted(check["detail"] for check in kinds) == sorted(f"a master of a cluster {place}" for place in places)
    alone = ran("doctor", f"redis://127.0.0.1:{redis_cluster.masters()[0].public_port}", "--json")
    assert {check["check"]: check["verdict"] for check in alone.json["checks"]}["kind"] == "problem"


async def test_a_master_that_is_silent_hides_no_other(own_redis_cluster: Callable[..., RedisCluster]) -> None:
    cluster = own_redis_cluster(node_timeout_seconds=60)
    silent, *others = cluster.masters()
    silent.pause()
    try:
        done = ran("doctor", cluster.url, "--json", "--timeout", "0.5")
    finally:
        silent.resume()
    assert done.code == 1, done.out
    checks = json.loads(done.out)["checks"]
    (problem,) = [check for check in checks if (check["check"], check["verdict"]) == ("connection", "problem")]
    assert problem["detail"].endswith(f"(at redis://127.0.0.1:{silent.public_port})")
    assert len([check for check in checks if check["check"] == "kind"]) == len(others)
    assert "UNANSWERED" not in done.out
