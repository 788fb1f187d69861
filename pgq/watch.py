"""The watch over limits, a step of upkeep: show in Postgres where they stand, and let go of what nobody holds.

Holds lapse by themselves with the lease of whoever took them. What Postgres knows is sooner: a permit of a queue that
no task being processed carries, although it was granted, or first seen so, longer ago than half a lease, belongs to
nobody (a claim that never came to be, a worker that died). Sooner than that a claim may be under way whose tasks start
under it as they are; later they make it new first. The other direction, tasks whose hold is missing, is each holder's
own: it renews what it runs, come what may.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import psycopg

from pgq.config import Config
from pgq.db import Call, arun
from pgq.grants import WHATEVER, Limit, Standing, key_limit, keys_place, queue_limit
from pgq.limit import look, micro, report, standings
from pgq.limiter import RedisError, acall, one_root
from pgq.quota import KeyLimit, Quota, kind_of

log = logging.getLogger("pgq")

TOP = 100  # keys that are shown: those that were denied most


class Watch:
    """Looks at every limit now and then; remembers from one look to the next what seemed to belong to nobody."""

    def __init__(self, config: Config, client: Any, clock: Callable[[], float] = monotonic) -> None:
        self._config = config
        self._clock = clock
        self._client = client
        self._suspects: dict[str, dict[str, float]] = {}  # by queue: permits, and when each was first seen

    async def look(self, conn: psycopg.AsyncConnection) -> None:
        """Write what is used of each limit, and release orphans. Raises psycopg.Error; does nothing without Redis."""
        if self._client is None:
            return
        try:
            with one_root():
                queues = await self._queues(conn)
                for limit in queues.values():
                    await self._release(conn, limit)
                await self._write(conn, queues, await self._keys(conn))
        except (RedisError, OSError) as error:
            log.debug("limits were not watched: %s", error)

    async def _queues(self, conn: psycopg.AsyncConnection) -> dict[str, Limit]:
        rows = await arun(conn, Call("limited_queues", {}))
        prefix = self._config.limit_prefix
        return {name: queue_limit(prefix, name, Quota(most, per, slots)) for name, most, per, slots in rows}

    async def _release(self, conn: psycopg.AsyncConnection, limit: Limit) -> None:
        """Let go of the permits of one queue that no task carries."""
        queue = limit.place.partition("{queue:")[2].removesuffix("}")
        permits = {_text(permit) for permit in await self._client.zrange(limit.keys[1], 0, -1)}
        carried = {lease.hex for _, lease, *_ in await arun(conn, Call("held", {"queue": queue}))}
        strange = permits - carried
        before, now = self._suspects.get(queue, {}), self._clock()
        seen = {permit: before.get(permit, now) for permit in strange}
        orphans = {permit for permit, since in seen.items() if now - since > self._config.lease / 2}
        orphans |= await self._old(limit, sorted(strange))
        self._suspects[queue] = {permit: since for permit, since in seen.items() if permit not in orphans}
        if orphans:
            pairs = [(limit, (permit, WHATEVER, 0)) for permit in sorted(orphans)]
            await acall(self._client, report(self._config.lease, pairs))
            log.warning("%d permits of queue %s belonged to nobody; released", len(orphans), queue)

    async def _old(self, limit: Limit, permits: Sequence[str]) -> set[str]:
        """Return those that were granted long ago, by the limiter's clock: any worker's first look may find them."""
        if not permits:
            return set()
        book = await self._client.hmget(limit.keys[2], ["now", *(f"s:{permit}" for permit in permits)])
        now, granted = int(book[0] or 0), zip(permits, book[1:], strict=True)
        return {permit for permit, at in granted if at and now - int(at) > micro(self._config.lease / 2)}

    async def _keys(self, conn: psycopg.AsyncConnection) -> dict[Limit, int]:
        """Return the keys that were denied most, and how often."""
        rows = await arun(conn, Call("limit_settings", {}))
        kinds = {name: KeyLimit(name, Quota(most, per, slots)) for name, most, per, slots in rows}
        prefix = self._config.limit_prefix
        denied = await self._client.zrevrange(f"{keys_place(prefix)}:denials", 0, TOP - 1, withscores=True)
        known = [(_text(key), int(count)) for key, count in denied if kind_of(_text(key)) in kinds]
        return {key_limit(prefix, key, kinds[kind_of(key)]): count for key, count in known}

    async def _write(self, conn: psycopg.AsyncConnection, queues: dict[str, Limit], keys: dict[Limit, int]) -> None:
        stand = [(f"queue:{name}", (await self._look([limit]))[0], 0) for name, limit in queues.items()]
        for (limit, count), standing in zip(keys.items(), await self._look(list(keys)), strict=True):
            stand.append((limit.name, standing, count))
        values = {
            "names": [name for name, _, _ in stand],
            "used": [standing.used for _, standing, _ in stand],
            "running": [standing.running for _, standing, _ in stand],
            "waits": [standing.wait or None for _, standing, _ in stand],
            "denied": [count for _, _, count in stand],
        }
        await arun(conn, Call("write_usage", values))
        await arun(conn, Call("prune_usage", {}))

    async def _look(self, limits: Sequence[Limit]) -> list[Standing]:
        return standings(await acall(self._client, look(self._config.lease, limits))) if limits else []


def _text(word: str | bytes) -> str:
    return word.decode() if isinstance(word, bytes) else word
