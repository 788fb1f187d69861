"""pgqueuer: pure Python on asyncpg."""

from __future__ import annotations

from benchmarks.peers.homes import Venv
from benchmarks.peers.peer import Peer

PEER = Peer(
    name="pgqueuer",
    version="1.6.0",
    home=Venv(("pgqueuer==1.6.0", "asyncpg==0.32.0", "uvloop==0.23.0")),
    settings="asyncpg (twice as fast as psycopg by its benchmark page), uvloop, batch_size 500, one QueueManager a "
    "process, durable tables (its default); bulk is `enqueue` with lists",
    retention="deletes the row and writes one to a log",
    table="pgqueuer_log",
    left="select exists (select from pgqueuer)",
    tasks=60_000,
)
