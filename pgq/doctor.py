"""The doctor: checks of the database, the schema, the workers and Redis, each a sentence that says what to do.

Every check takes a connection and returns one Finding, that of Redis several; none changes anything.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import psycopg
from redis.exceptions import RedisClusterException

from pgq.connect import connect
from pgq.doorbell import CHANNEL
from pgq.errors import ConfigError, SchemaError
from pgq.limiter import RedisError, connect_redis
from pgq.migrate import MINIMUM_SERVER, pending

SKEW = 1.0  # seconds the clocks may differ
LONG = 300.0  # seconds a transaction may be open
STUCK = 60.0  # seconds past its lease after which upkeep should have removed a dead worker
AHEAD = 2  # days of partitions that should be there
MINIMUM_REDIS = (5,)  # before, a script that has asked for the time may not write


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    level: Literal["ok", "warn", "fail"]
    text: str


Check = Callable[[psycopg.Connection], Finding]


def examine(dsn: str, redis_url: str = "") -> list[Finding]:
    """Run every check; those that need the schema only where it is there. Raises psycopg.OperationalError."""
    with connect(dsn, "doctor") as conn:
        findings = [check(conn) for check in (server, pooler)]
        findings += [listening(conn, dsn), *(check(conn) for check in (clock, autovacuum, transactions))]
        findings.append(schema(conn))
        if findings[-1].level != "fail":
            findings += [check(conn) for check in (NEED_SCHEMA if redis_url else (*NEED_SCHEMA, unlimited))]
        if redis_url:
            findings += redis(conn, redis_url)
    return findings


def server(conn: psycopg.Connection) -> Finding:
    """Check the version of the server."""
    version = conn.info.parameter_status("server_version")
    where = f"Postgres {version}, database {conn.info.dbname} as {conn.info.user}"
    if conn.info.server_version < MINIMUM_SERVER:
        return Finding("server", "fail", f"{where}: pgq needs Postgres 14 or newer")
    return Finding("server", "ok", where)


def pooler(conn: psycopg.Connection) -> Finding:
    """Check whether a pooler is in between: it answers for another process than the one it introduced."""
    if _one(conn, "select pg_backend_pid()") == conn.info.backend_pid:
        return Finding("pooler", "ok", "connected to Postgres itself")
    return Finding("pooler", "warn", "a pooler is in between: workers poll instead of sleeping; give them a direct DSN")


def listening(conn: psycopg.Connection, dsn: str) -> Finding:
    """Check that a note from one connection reaches another."""
    nonce = f"probe:{uuid.uuid4()}"
    conn.execute(f"listen {CHANNEL}")
    try:
        with connect(dsn, "doctor") as other:
            other.execute("select pg_notify(%s, %s)", (CHANNEL, nonce))
        if any(note.payload == nonce for note in conn.notifies(timeout=2, stop_after=1)):
            return Finding("listen", "ok", "notifications arrive")
    finally:
        conn.execute(f"unlisten {CHANNEL}")
    return Finding("listen", "warn", "notifications do not arrive: workers poll once a second; give a direct DSN")


def clock(conn: psycopg.Connection) -> Finding:
    """Check this host's clock against the server's."""
    before = datetime.now(UTC)
    there = _one(conn, "select clock_timestamp()")
    after = datetime.now(UTC)
    apart = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    if apart > SKEW:
        return Finding("clock", "warn", f"this host and the server are {apart:.1f} s apart: run NTP on both")
    return Finding("clock", "ok", f"this host and the server agree within {SKEW:g} s")


def autovacuum(conn: psycopg.Connection) -> Finding:
    """Check that somebody cleans up."""
    off = [name for name in ("autovacuum", "track_counts") if _one(conn, f"show {name}") != "on"]
    if off:
        return Finding("autovacuum", "warn", f"{off[0]} is off: claims get slower with every task; turn it on")
    return Finding("autovacuum", "ok", "on")


def transactions(conn: psycopg.Connection) -> Finding:
    """Check for transactions in this database that keep dead rows from being cleaned up."""
    row = _row(
        conn,
        "select who, extract(epoch from clock_timestamp() - since)::double precision from ("
        " select format('pid %s, user %s, %s', pid, usename, application_name) as who, xact_start as since"
        " from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        " and (backend_xmin is not null or backend_xid is not null) and backend_type = 'client backend'"
        " union all"
        " select format('prepared as %s', gid), prepared from pg_prepared_xacts where database = current_database()"
        ") as held order by since limit 1",
    )
    if row is None or row[1] is None or row[1] < LONG:
        return Finding("transactions", "ok", f"none is open for more than {LONG:g} s")
    text = f"one is open for {row[1] / 60:.0f} min ({row[0]}): dead rows pile up until it ends"
    return Finding("transactions", "warn", text)


def schema(conn: psycopg.Connection) -> Finding:
    """Check that the schema is there, ours and up to date."""
    try:
        missing = pending(conn)
    except SchemaError as error:
        return Finding("schema", "fail", str(error))
    if any(step.version for step in missing):
        lacking = ", ".join(step.name for step in missing)
        return Finding("schema", "fail", f"it lacks {lacking}: run `pgq migrate`")
    if missing:
        return Finding("schema", "warn", "its functions and views are those of another version: run `pgq migrate`")
    return Finding("schema", "ok", "up to date")


def partitions(conn: psycopg.Connection) -> Finding:
    """Check that today and the next days have their partitions."""
    today = datetime.now(UTC).date()
    days = [today + timedelta(days=ahead) for ahead in range(AHEAD + 1)]
    there = {name for (name,) in conn.execute("select name from pgq.partitions")}
    missing = [str(day) for day in days if f"tasks_{day:%Y%m%d}" not in there]
    if missing:
        level: Literal["warn", "fail"] = "fail" if str(today) in missing else "warn"
        return Finding("partitions", level, f"none for {', '.join(missing)}: any running worker makes them")
    return Finding("partitions", "ok", f"{len(there)} days, today and the next {AHEAD} among them")


def default_partition(conn: psycopg.Connection) -> Finding:
    """Check that nothing waits in the default partition that should lie in one of its own."""
    soon = _one(
        conn,
        "select count(*) from (select from pgq.tasks_default"
        " where scheduled_at < clock_timestamp() + %s * interval '1 day' limit 1000) as few",
        AHEAD,
    )
    if soon:
        return Finding(
            "default partition", "warn", f"{_up_to(soon)} tasks due soon lie in it: run a worker, it moves them"
        )
    later = _one(conn, "select count(*) from (select from pgq.tasks_default limit 1000) as few")
    text = f"{_up_to(later)} tasks due in the far future wait in it, as they should" if later else "empty"
    return Finding("default partition", "ok", text)


def workers(conn: psycopg.Connection) -> Finding:
    """Check that somebody works."""
    alive = _one(conn, "select count(*) from pgq.worker_stats where alive")
    if not alive:
        return Finding("workers", "warn", "none is running: `pgq worker module:app`")
    return Finding("workers", "ok", f"{alive} alive")


def upkeep(conn: psycopg.Connection) -> Finding:
    """Check that the periodic work gets done: dead workers are noticed, days are made and dropped."""
    row = _row(
        conn,
        "select count(*), max(silent_for) from pgq.worker_stats join pgq.workers using (id)"
        " where silent_for > lease + %s",
        STUCK,
    )
    if row[0]:
        text = (
            f"{row[0]} dead for {row[1] / 60:.0f} min still listed, with the tasks they held: run a worker, see its log"
        )
        return Finding("upkeep", "fail", text)
    late = _names(
        conn,
        "select step from pgq.upkeep where ran_at < clock_timestamp() - %s * interval '1 second' and exists"
        " (select from pgq.worker_stats where alive and started_at < clock_timestamp() - %s * interval '1 second')",
        LONG,
        LONG,
    )
    if late:
        text = f"workers are at work, but not done for {LONG:g} s: {', '.join(late)}; who holds locks on pgq.tasks?"
        return Finding("upkeep", "warn", text)
    return Finding("upkeep", "ok", "no dead worker is left over, nothing is late")


def served(conn: psycopg.Connection) -> Finding:
    """Check that every queue has a worker."""
    idle = _names(
        conn,
        "select name from pgq.queues as q where paused_at is null"
        " and not exists (select from pgq.worker_stats as w where w.alive and q.name = any(w.queues)) order by name",
    )
    if idle:
        return Finding("queues", "warn", f"no worker serves {', '.join(idle)}")
    return Finding("queues", "ok", "every queue that is not paused has a worker")


def paused(conn: psycopg.Connection) -> Finding:
    """Check for queues that somebody paused."""
    names = _names(conn, "select name from pgq.queues where paused_at is not null order by name")
    if names:
        return Finding("paused", "warn", f"{', '.join(names)}: `pgq queues resume` lets them go on")
    return Finding("paused", "ok", "no queue is paused")


def unlimited(conn: psycopg.Connection) -> Finding:
    """Check that nothing is limited: there is no Redis."""
    limited = _names(
        conn,
        "select 'queue ' || name from pgq.queues where rate_max is not null or concurrency is not null order by name",
    )
    limited += _names(conn, "select 'limit ' || name from pgq.limits order by name")
    if limited:
        text = f"no URL is given, but limits need Redis ({', '.join(limited)}): set PGQ_REDIS_URL as for workers"
        return Finding("redis", "warn", text)
    return Finding("redis", "ok", "no URL is given, and nothing is limited")


def redis(conn: psycopg.Connection, url: str) -> list[Finding]:
    """Check the server that keeps the limits: whether it answers, what it may forget, what time it thinks it is."""
    try:
        with closing(connect_redis(url)) as client:
            nodes = _nodes(client.info())
            before = _one(conn, "select clock_timestamp()")
            there = [datetime.fromtimestamp(whole + micro / 1e6, UTC) for whole, micro in _nodes(client.time())]
            after = _one(conn, "select clock_timestamp()")
    except ConfigError as error:
        return [Finding("redis", "fail", str(error))]
    except (RedisError, RedisClusterException, OSError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0].partition(" : <")[0].rstrip(".")
        return [Finding("redis", "fail", f"not to be had: {said}; queues under a limit wait until it is")]
    return [redis_version(nodes), redis_memory(nodes), redis_clock(before, there, after)]


def redis_version(nodes: list[Any]) -> Finding:
    """Check the version of each server."""
    old = [node for node in nodes if tuple(map(int, node["redis_version"].split("."))) < MINIMUM_REDIS]
    names = sorted({_redis_name(node) for node in old or nodes})
    if old:
        return Finding("redis", "fail", f"{', '.join(names)}: limits need Redis {MINIMUM_REDIS[0]} or newer")
    return Finding("redis", "ok", f"{', '.join(names)} answers")


def redis_memory(nodes: list[Any]) -> Finding:
    """Check that no server forgets limits when its memory is full."""
    bounded = {node.get("maxmemory_policy", "noeviction") for node in nodes if node.get("maxmemory")}
    if policies := sorted(bounded - {"noeviction"}):
        text = f"its maxmemory-policy is {', '.join(policies)}: it may evict limits; set it to noeviction"
        return Finding("redis memory", "warn", text)
    return Finding("redis memory", "ok", "it evicts nothing")


def redis_clock(before: datetime, there: list[datetime], after: datetime) -> Finding:
    """Check each server's clock against that of Postgres, which was asked before and after."""
    apart = max(max((before - time).total_seconds(), (time - after).total_seconds(), 0.0) for time in there)
    if apart > SKEW:
        return Finding("redis clock", "warn", f"Redis and Postgres are {apart:.1f} s apart: run NTP on both")
    return Finding("redis clock", "ok", f"Redis and Postgres agree within {SKEW:g} s")


NEED_SCHEMA: tuple[Check, ...] = (partitions, default_partition, workers, upkeep, served, paused)


def _nodes(reply: Any) -> list[Any]:
    """Return what each server said: a cluster of several answers with a reply for each."""
    several = isinstance(reply, dict) and "redis_version" not in reply
    return list(reply.values()) if several else [reply]


def _redis_name(node: Any) -> str:
    return f"Valkey {node['valkey_version']}" if "valkey_version" in node else f"Redis {node['redis_version']}"


def _row(conn: psycopg.Connection, query: str, *values: Any) -> Any:
    return conn.execute(query.encode(), values or None).fetchone()


def _one(conn: psycopg.Connection, query: str, *values: Any) -> Any:
    return _row(conn, query, *values)[0]


def _names(conn: psycopg.Connection, query: str, *values: Any) -> list[str]:
    return [name for (name,) in conn.execute(query.encode(), values or None)]


def _up_to(number: int) -> str:
    return "1000 or more" if number >= 1000 else str(number)  # noqa: PLR2004 - where the counting stops
