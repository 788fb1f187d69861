"""What must hold before a worker starts: the schema fits, its queues are written, and nothing they need is missing."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from pgq.app import App
from pgq.config import Config
from pgq.db import Call, arun
from pgq.errors import ConfigError
from pgq.gate import Gate, own_limit
from pgq.grants import mark_of
from pgq.handler import ALERTS
from pgq.lane import Lane
from pgq.limiter import aconnect_redis
from pgq.line import read_settings
from pgq.migrate import acheck
from pgq.queue import Settings


async def make_ready(
    conn: psycopg.AsyncConnection, app: App, config: Config, queues: Sequence[str], name: str
) -> list[Lane]:
    """Write what the app declares, or see that it is written; returns the lanes of these queues for that worker.

    Raises ConfigError, SchemaError where it cannot work.
    """
    await acheck(conn)
    await _declare(conn, app)
    lanes = [_lane(app, config, settings, name) for settings in await read_settings(conn, list(queues))]
    for limit in app.key_limits:
        if not config.redis_url:
            raise ConfigError(f"limit {limit!r} needs Redis: give --redis-url or PGQ_REDIS_URL")
    if config.redis_url:  # what cannot be read is said before anybody sees this worker
        await aconnect_redis(config.redis_url).aclose()
    return lanes


async def _declare(conn: psycopg.AsyncConnection, app: App) -> None:
    """Write what the app declares, where this user may; else see that it is written. Raises ConfigError."""
    if tuple(await arun(conn, Call("may_declare", {}))) == ((True,),):
        await app.adeclare(conn)
        return
    values = [call.values for call in app.declarations()]
    declared = {
        "kinds": [call.name for call in app.declarations()],
        "names": [each["name"] for each in values],
        "declared": [each["declared"] for each in values],
    }
    if changed := [f"{kind} {name!r}" for kind, name in await arun(conn, Call("undeclared", declared))]:
        command = "pgq queues sync --alerts" if ALERTS in app.queues else "pgq queues sync"
        raise ConfigError(
            f"{', '.join(changed)}: not in the database as declared, and user {conn.info.user} may not write it:"
            f" run `{command}` as one of pgq_admin"
        )


def _lane(app: App, config: Config, settings: Settings, worker: str) -> Lane:
    gate = Gate(own_limit(config.limit_prefix, settings), mark_of(worker))
    if gate.limited and not config.redis_url:  # better no worker than one that overruns somebody's server
        raise ConfigError(f"queue {settings.name!r} is limited, which needs Redis: give --redis-url or PGQ_REDIS_URL")
    names = [name for name, handler in app.handlers.items() if handler.function.queue == settings.name]
    if any(app.handlers[name].function.kind == "process" for name in names) and not app.path:
        raise ConfigError("process handlers need the app's import path: App(path='package.module:app')")
    return Lane(settings, names, gate, config.concurrency, config.batch)
