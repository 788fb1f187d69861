"""What a dead worker left at the limiter, let go of at once by whoever knows for certain that it is dead.

Without this its slots lapse with its lease, and its units stay in the window for as long as something might still
start under them. Permits of queues are known by their mark, whether a claim was made under them or not; those of keys
by the tasks that carry them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from pgq.config import Config
from pgq.db import Call, run
from pgq.grants import WHATEVER, Held, Limit, by_place, key_limit, mark_of, queue_limit
from pgq.limit import report
from pgq.limiter import RedisError, call, connect_redis
from pgq.quota import KeyLimit, Quota, kind_of
from pgq.redact import first_line

log = logging.getLogger("pgq")

AT_ONCE = 1_000  # permits in one call
Permits = list[tuple[Limit, Held]]


@dataclass(frozen=True, slots=True)
class Estate:
    """The mark of a dead worker's permits, the limits of queues where there may be some, and its permits of keys."""

    mark: str
    queues: list[Limit]
    keys: Permits


def estate(conn: psycopg.Connection, name: str, ids: Collection[int], queues: Iterable[str], prefix: str) -> Estate:
    """Return what the worker registered as `name` left; asked before its tasks are given back."""
    served = list(queues)
    rows = run(conn, Call("limited_queues", {}))
    own = [queue_limit(prefix, queue, Quota(most, per, slots)) for queue, most, per, slots in rows if queue in served]
    rows = run(conn, Call("limit_settings", {}))
    kinds = {kind: KeyLimit(kind, Quota(most, per, slots)) for kind, most, per, slots in rows}
    keys: Permits = []
    for queue in served if kinds else []:
        for task_id, lease, named, _, worker, _ in run(conn, Call("held", {"queue": queue})):
            known = [key for key in named or () if worker in ids and kind_of(key) in kinds]
            permit = f"{lease.hex}/{task_id}", WHATEVER, 0
            keys += ((key_limit(prefix, key, kinds[kind_of(key)]), permit) for key in known)
    return Estate(mark_of(name), own, keys)


def let_go(config: Config, left: Estate) -> None:
    """Say that nothing runs under these permits any more. Where the limiter is away, they lapse with their lease."""
    if not config.redis_url or not (left.queues or left.keys):
        return
    try:
        client = connect_redis(config.redis_url)
        try:
            for some in _portions([*left.keys, *_marked(client, left)]):
                call(client, report(config.lease, some))
        finally:
            client.close()
    except (RedisError, OSError) as error:
        log.warning("what it held at the limiter lapses after %g s: %s", config.lease, first_line(error))


def _marked(client: Any, left: Estate) -> Iterator[tuple[Limit, Held]]:
    for limit in left.queues:
        for permit in client.zrange(limit.keys[1], 0, -1):
            name = permit.decode() if isinstance(permit, bytes) else permit
            if name.startswith(left.mark):
                yield limit, (name, WHATEVER, 0)


def _portions(permits: Permits) -> Iterator[Permits]:
    """Yield permits that one call can name: those of one hash slot, and not too many."""
    for some in by_place(permits):
        for start in range(0, len(some), AT_ONCE):
            yield some[start : start + AT_ONCE]
