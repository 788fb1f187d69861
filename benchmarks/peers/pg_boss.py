"""pg-boss: Node."""

from __future__ import annotations

from benchmarks.peers.homes import Node
from benchmarks.peers.peer import Peer

PEER = Peer(
    name="pg-boss",
    version="12.38.0",
    home=Node(("pg-boss@12.38.0",)),
    settings="batchSize 500, localConcurrency 2, burstWhenBatchFull, LISTEN/NOTIFY, polling every 0.5 s; one handler "
    "call a batch, so a batch succeeds or fails as one; bulk is `insert`",
    retention="keeps the row",
    table="pgboss.job",
    left="select exists (select from pgboss.job where state < 'completed')",
    tasks=60_000,
)
