"""pgq itself."""

from __future__ import annotations

from benchmarks.peers.homes import Here
from benchmarks.peers.peer import Peer
from pgq.version import __version__

PEER = Peer(
    name="pgq",
    version=__version__,
    home=Here(),
    settings="concurrency 50 and defaults for all else, uvloop; bulk is `enqueue_many`",
    retention="keeps the row",
    table="pgq.tasks",
    left="select coalesce(sum(completed), 0) < %(tasks)s from pgq.counts",
    tasks=60_000,
)
