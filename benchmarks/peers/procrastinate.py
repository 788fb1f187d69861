"""procrastinate: pure Python on psycopg."""

from __future__ import annotations

from benchmarks.peers.homes import Venv
from benchmarks.peers.peer import Peer

PEER = Peer(
    name="procrastinate",
    version="3.10.0",
    home=Venv(("procrastinate==3.10.0", "psycopg[binary]==3.3.9", "uvloop==0.23.0")),
    settings="concurrency 10, LISTEN/NOTIFY (its default), uvloop; bulk is `batch_defer`",
    retention="keeps the row and writes three events",
    table="procrastinate_jobs",
    left="select exists (select from procrastinate_jobs where status in ('todo', 'doing'))",
    tasks=4_000,
)
