"""The limiter's memory: what it is told again after it lost everything, and what it keeps for those without Postgres.

Postgres is the truth. A server that was flushed, or came back empty, grants nothing until it has been told which tasks
run now; the units of starts before that are lost, so one window may be filled once more. Where it forgets again while
it is told, all of it is told anew: permits that others were given in between are in no list yet.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from itertools import groupby
from typing import Any

from pgq.config import Config
from pgq.connect import aconnect
from pgq.db import Call, arun
from pgq.gate import Gate
from pgq.grants import Held, Limit, keys_place, settings_at
from pgq.keyring import Keyring
from pgq.limit import begin, hold
from pgq.quota import KeyLimit, Quota
from pgq.script import Verb

OTHERS = 0.3  # seconds that programs without Postgres get to say what they hold: they look every quarter of a second

Others = list[tuple[float, Limit, Held]]  # what others run: the seconds that their worker's lease has left, and what
Say = Callable[[Verb], Awaitable[Any]]


class Memory:
    """Tells the limiter what runs. `worker_id` names this process: of its own tasks it knows better than Postgres."""

    def __init__(self, config: Config, say: Say, worker_id: Callable[[], int]) -> None:
        self.keys_unknown = False
        self.unpublished = True
        self._config = config
        self._say = say
        self._worker_id = worker_id

    async def restore_queue(self, gate: Gate, queue: str) -> bool:
        """Tell what of a queue runs, claims under older permits included; False where it was forgotten again meanwhile.

        Raises RedisError, psycopg.Error.
        """
        memory = await self._say(begin(gate.limit.place))
        await asyncio.sleep(gate.limit.quota.prompt)
        async with await aconnect(self._config.dsn, "limits") as conn:
            rows = await arun(conn, Call("held", {"queue": queue}))
        ours = self._worker_id()
        found = Counter((left, lease.hex) for _, lease, _, _, worker, left in rows if worker != ours)
        others = [(left, gate.limit, (lease, count, count)) for (left, lease), count in found.items()]
        return await self._hold(others, [(gate.limit, permit) for permit in gate.held()], gate.limit.place, memory)

    async def restore_keys(self, keyring: Keyring) -> bool:
        """Do the same for what runs under keys, in all queues."""
        place = keys_place(self._config.limit_prefix)
        memory = await self._say(begin(place))
        await asyncio.sleep(OTHERS)
        others: Others = []
        async with await aconnect(self._config.dsn, "limits") as conn:
            for (queue,) in await arun(conn, Call("queue_names", {})):
                for task_id, lease, keys, weight, worker, left in await arun(conn, Call("held", {"queue": queue})):
                    if worker != self._worker_id():
                        permit = f"{lease.hex}/{task_id}", weight, 1
                        others += ((left, limit, permit) for limit in keyring.limits(keys))
        self.unpublished = True
        return await self._hold(others, keyring.held(), place, memory)

    async def publish(self, kinds: Mapping[str, KeyLimit]) -> None:
        """Keep what each kind of key may do where programs find it that share limits but have no Postgres."""
        if not self.unpublished:
            return
        words = [word for kind in kinds.values() for word in (kind.name, _spelled(kind.quota))]
        await self._say(Verb("publish", [settings_at(self._config.limit_prefix)], words))
        self.unpublished = False

    async def _hold(self, others: Others, ours: list[tuple[Limit, Held]], place: str, memory: str | bytes) -> bool:
        """Tell what others run only for as long as they count as alive: one that is dead renews nothing."""
        for left, group in groupby(sorted(others, key=_left), key=_left):
            if left > 0:
                held = [(limit, permit) for _, limit, permit in group]
                await self._say(hold(left, held, place, complete=False, units=True))
        return bool(await self._say(hold(self._config.lease, ours, place, complete=memory, units=True)) >= 0)


def _left(held: tuple[float, Limit, Held]) -> float:
    return held[0]


def _spelled(quota: Quota) -> str:
    return json.dumps({"rate_max": quota.max, "rate_per": quota.per, "concurrency": quota.slots})
