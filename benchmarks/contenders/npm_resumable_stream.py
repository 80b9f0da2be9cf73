"""npm's `resumable-stream` of Vercel, on Node's own HTTP server: `node/resumable_stream.js`."""

from __future__ import annotations

from .contract import Contender, Environment, Store, Wire

__all__ = ["CONTENDERS", "SCRIPT"]

CONTENDERS = (
    Contender(
        "npm-resumable-stream",
        "npm resumable-stream 2.2.13, Node",
        Store.REDIS,
        Wire(resume="/chat/{session}"),
        baseline="node-bare",
        environment=Environment.NODE,
        logs=False,
    ),
    Contender("node-bare", "Node's HTTP server, nothing else", environment=Environment.NODE),
)
SCRIPT = "resumable_stream.js"
