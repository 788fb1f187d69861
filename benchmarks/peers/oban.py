"""oban-py, the free one: bulk acknowledgement is in its paid edition."""

from __future__ import annotations

from benchmarks.peers.homes import Venv
from benchmarks.peers.peer import Peer

PEER = Peer(
    name="oban",
    version="0.7.0",
    home=Venv(("oban==0.7.0", "uvloop==0.23.0"), python=(3, 12)),
    settings="limit 500, a pool of 20 connections, uvloop as its command line uses; bulk is `enqueue_many`",
    retention="keeps the row for a day",
    table="oban_jobs",
    left="select exists (select from oban_jobs where state in ('available', 'executing', 'retryable'))",
    tasks=15_000,
)
