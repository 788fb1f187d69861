"""What a dead worker held at the limiter, let go of at once by whoever knows for certain that it is dead.

Without this its slots lapse with its lease, and its units stay in the window for as long as something might still
start under them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

import psycopg

from pgq.config import Config
from pgq.db import Call, run
from pgq.grants import WHATEVER, Held, Limit, key_limit, queue_limit
from pgq.limit import report
from pgq.limiter import RedisError, call, connect_redis
from pgq.quota import KeyLimit, Quota, kind_of

log = logging.getLogger("pgq")

AT_ONCE = 1_000  # permits in one call
Permits = list[tuple[Limit, Held]]


def permits_of(conn: psycopg.Connection, workers: Collection[int], queues: Iterable[str], prefix: str) -> Permits:
    """Return what these workers hold, as Postgres knows it; asked before their tasks are given back."""
    rows = run(conn, Call("limited_queues", {}))
    own = {name: queue_limit(prefix, name, Quota(most, per, slots)) for name, most, per, slots in rows}
    rows = run(conn, Call("limit_settings", {}))
    kinds = {name: KeyLimit(name, Quota(most, per, slots)) for name, most, per, slots in rows}
    found: dict[tuple[Limit, Held], None] = {}  # tasks of one claim share a permit
    for queue in queues:
        for task_id, lease, keys, _, worker in run(conn, Call("held", {"queue": queue})):
            if worker in workers:
                if queue in own:
                    found[own[queue], (lease.hex, WHATEVER, 0)] = None
                for key in [key for key in keys or () if kind_of(key) in kinds]:
                    limit = key_limit(prefix, key, kinds[kind_of(key)])
                    found[limit, (f"{lease.hex}/{task_id}", WHATEVER, 0)] = None
    return list(found)


def let_go(config: Config, permits: Permits) -> None:
    """Say that nothing runs under these permits any more. Where the limiter is away, they lapse with their lease."""
    if not permits or not config.redis_url:
        return
    try:
        client = connect_redis(config.redis_url)
        try:
            for some in _portions(permits):
                call(client, report(config.lease, some))
        finally:
            client.close()
    except (RedisError, OSError) as error:
        log.warning("what it held at the limiter lapses after %g s: %s", config.lease, error)


def _portions(permits: Permits) -> Iterator[Permits]:
    """Yield permits that one call can name: those of one hash slot, and not too many."""
    for _, group in groupby(sorted(permits, key=_place), key=_place):
        some = list(group)
        for start in range(0, len(some), AT_ONCE):
            yield some[start : start + AT_ONCE]


def _place(permit: tuple[Limit, Held]) -> str:
    return permit[0].place
