"""graphile-worker: Node."""

from __future__ import annotations

from benchmarks.peers.homes import Node
from benchmarks.peers.peer import Peer

PEER = Peer(
    name="graphile-worker",
    version="0.18.0",
    home=Node(("graphile-worker@0.18.0",)),
    settings="as its performance page: concurrentJobs 24, maxPoolSize 25, localQueue 500, completeJobBatchDelay 0, "
    "failJobBatchDelay 0; bulk is `addJobs`",
    retention="deletes the row: no history",
    table="graphile_worker._private_jobs",
    left="select exists (select from graphile_worker._private_jobs)",
    tasks=60_000,
)
