"""What happened to each stream before it failed: on our own events alone, never on the host's."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, Final

from ...observations import Observation, Signal
from .fields import allowed

__all__ = ["Trails"]

STREAMS: Final = 1024
"""Streams that are remembered, the latest."""
CRUMBS: Final = 20
"""Facts of one stream that are remembered, the latest."""
_KNOWN: Final = ("protocol", "binding", "framework", "degraded", "seq", "epoch")
"""Fields that stay true of a stream, or are the latest that is known."""
_OUTCOMES: Final = frozenset({Signal.FAULT, Signal.STREAM_ENDED, Signal.ORPHAN_SETTLED})
"""Signals whose outcome is the stream's; others have that of a tool, a settlement or a round."""


class _Trail:
    __slots__ = ("crumbs", "known")

    def __init__(self) -> None:
        self.crumbs: deque[dict[str, Any]] = deque(maxlen=CRUMBS)
        self.known: dict[str, object] = {}


class Trails:
    """The latest facts of the latest streams."""

    def __init__(self) -> None:
        self._trails: OrderedDict[str, _Trail] = OrderedDict()
        self._framework: object = None
        """That of the process, known from the first stream on."""

    def add(self, observation: Observation) -> None:
        """Remember a fact about a stream; others are not."""
        if observation.ref is None:
            return
        stream_id = observation.ref.stream_id
        trail = self._trails.get(stream_id)
        if trail is None:
            trail = self._trails[stream_id] = _Trail()
            if len(self._trails) > STREAMS:
                self._trails.popitem(last=False)
        fields = allowed(observation.fields)
        trail.known |= {name: fields[name] for name in _KNOWN if name in fields}
        if observation.name in _OUTCOMES and "outcome" in fields:
            trail.known["outcome"] = fields["outcome"]
        self._framework = fields.get("framework", self._framework)
        if (fault := observation.fault) is not None:
            fields = {"code": str(fault.code), "phase": str(fault.phase), "fault_id": fault.fault_id, **fields}
        trail.crumbs.append(
            {
                "timestamp": time.time(),
                "type": "default",
                "category": "streamguard",
                "level": "info" if fault is None else "error",
                "message": str(observation.name),
                "data": fields,
            }
        )

    def of(self, observation: Observation) -> list[dict[str, Any]]:
        """The facts of its stream so far, the oldest first."""
        trail = self._trail(observation)
        return [] if trail is None else list(trail.crumbs)

    def known(self, observation: Observation) -> Mapping[str, object]:
        """What earlier facts said of its stream."""
        trail = self._trail(observation)
        process = {} if self._framework is None else {"framework": self._framework}
        return process if trail is None else process | trail.known

    def _trail(self, observation: Observation) -> _Trail | None:
        return None if observation.ref is None else self._trails.get(observation.ref.stream_id)
