"""The server that keeps the limits: whether it answers, what it may forget, what time it thinks it is."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
from redis.exceptions import NoPermissionError, RedisClusterException

from pgq import acl
from pgq.doctor.finding import Finding, names, one
from pgq.errors import ConfigError
from pgq.limiter import RedisError, call, connect_redis
from pgq.redact import first_line

SKEW = 1.0  # seconds the clocks may differ
MINIMUM_REDIS = (5,)  # before, a script that has asked for the time may not write


def unlimited(conn: psycopg.Connection) -> Finding:
    """Check that nothing is limited: there is no Redis."""
    limited = names(
        conn,
        "select 'queue ' || name from pgq.queues where rate_max is not null or concurrency is not null order by name",
    )
    limited += names(conn, "select 'limit ' || name from pgq.limits order by name")
    if limited:
        text = f"no URL is given, but limits need Redis ({', '.join(limited)}): set PGQ_REDIS_URL as for workers"
        return Finding("redis", "warn", text)
    return Finding("redis", "ok", "no URL is given, and nothing is limited")


def redis(conn: psycopg.Connection, url: str, prefix: str) -> list[Finding]:
    """Check the server that keeps the limits: whether it answers and lets us, what it forgets, its clock."""
    try:
        with closing(connect_redis(url)) as client:
            rights = redis_rights(client, prefix)
            if rights.level == "fail":
                return [rights]
            nodes = _nodes(client.info())
            before = one(conn, "select clock_timestamp()")
            there = [datetime.fromtimestamp(whole + micro / 1e6, UTC) for whole, micro in _nodes(client.time())]
            after = one(conn, "select clock_timestamp()")
    except ConfigError as error:
        return [Finding("redis", "fail", str(error))]
    except (RedisError, RedisClusterException, OSError) as error:
        said = first_line(error).partition(" : <")[0].rstrip(".")
        return [Finding("redis", "fail", f"not to be had: {said}; queues under a limit wait until it is")]
    return [redis_version(nodes), redis_memory(nodes), redis_clock(before, there, after), rights]


def redis_rights(client: Any, prefix: str) -> Finding:
    """Check that this user may run what limits need. Raises RedisError."""
    try:
        refused = acl.named(call(client, acl.missing(prefix)))
    except NoPermissionError as error:
        return Finding("redis rights", "fail", f"{error}: see `pgq limits acl`")
    if refused:
        text = f"this user may not run {', '.join(refused)} on {prefix}:*: see `pgq limits acl`"
        return Finding("redis rights", "fail", text)
    return Finding("redis rights", "ok", "this user may run what limits need")


def redis_version(nodes: list[Any]) -> Finding:
    """Check the version of each server."""
    old = [node for node in nodes if tuple(map(int, node["redis_version"].split("."))) < MINIMUM_REDIS]
    known = sorted({_redis_name(node) for node in old or nodes})
    if old:
        return Finding("redis", "fail", f"{', '.join(known)}: limits need Redis {MINIMUM_REDIS[0]} or newer")
    return Finding("redis", "ok", f"{', '.join(known)} answers")


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


def _nodes(reply: Any) -> list[Any]:
    """Return what each server said: a cluster of several answers with a reply for each."""
    several = isinstance(reply, dict) and "redis_version" not in reply
    return list(reply.values()) if several else [reply]


def _redis_name(node: Any) -> str:
    return f"Valkey {node['valkey_version']}" if "valkey_version" in node else f"Redis {node['redis_version']}"
