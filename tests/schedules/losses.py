"""What a master that fails may take with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..harness.redis_cluster import ClusterNode
from .history import Loss

if TYPE_CHECKING:
    from .cluster_field import ClusterField

__all__ = ["Losses"]


class Losses:
    """While entered, whatever is acknowledged by a master may be lost, and so may be what was just before."""

    def __init__(self, field: ClusterField, master: ClusterNode) -> None:
        self._found = [
            (world, Loss(world.lagged_at(master), math.inf)) for world in field.worlds if world.owner is master
        ]
        self._indexed = [world for world in field.worlds if world.is_indexed_at(master)]

    def __enter__(self) -> None:
        for world, loss in self._found:
            if world.history is not None:
                world.history.losses.append(loss)
        for world in self._indexed:
            if world.history is not None:
                world.history.index_lost = True
        self._histories = [world.history for world, _ in self._found]

    def __exit__(self, *raised: object) -> None:
        for history, (_, loss) in zip(self._histories, self._found, strict=True):
            loss.until = math.inf if history is None else history.now
