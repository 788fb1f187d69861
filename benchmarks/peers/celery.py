"""celery with Redis: the one that many come from. Its tasks are not in the user's transaction."""

from __future__ import annotations

from benchmarks.peers.homes import Venv
from benchmarks.peers.peer import Peer

PEER = Peer(
    name="celery",
    version="5.7.0",
    home=Venv(("celery[redis]==5.7.0",)),
    settings="prefork 2, prefetch multiplier 64, early acknowledgement (its default), no result backend, no gossip, no "
    "mingle, Redis as in the manifest; there is no bulk call, so bulk is a loop on one connection",
    retention="keeps nothing; a task counts as done when it starts, and Redis answers before anything is on disk",
    table="",
    left="",
    tasks=6_000,
    redis=True,
)
