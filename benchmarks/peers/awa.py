"""awa: a Rust core with Python handlers."""

from __future__ import annotations

from benchmarks.peers.homes import Venv
from benchmarks.peers.peer import Peer

PEER = Peer(
    name="awa",
    version="0.6.9",
    home=Venv(("awa-pg==0.6.9", "uvloop==0.23.0")),
    settings="its default queue storage, 512 workers on one queue, asynchronous handlers on uvloop; bulk is "
    "`enqueue_many_copy`",
    retention="keeps closed entries until its ring of partitions turns",
    table="awa.ready_entries",
    left="""
select (select coalesce(sum(completed_count), 0) from awa.receipt_completion_batches)
     + (select count(*) from awa.done_entries) < %(tasks)s
""",  # its own view of all jobs takes 10 s for 5,000 of them (2026-11-26)
    tasks=40_000,
)
