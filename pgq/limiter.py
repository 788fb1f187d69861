"""The limiter's server: connections by URL, and the two runners of a verb, sync and async.

A URL says what is there: redis://, rediss:// (TLS) or unix:// for one server, redis+cluster://host:port,… for a
cluster, redis+sentinel://host:port,…/service for a server that sentinels watch (with rediss+… for TLS).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit

import redis
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as NoReply

from pgq.errors import ConfigError
from pgq.script import Verb

__all__ = [
    "NoReply",
    "RedisError",
    "acall",
    "aclose",
    "aconnect_redis",
    "call",
    "connect_redis",
    "hazard",
    "one_root",
]

TIMEOUT = 1.0  # seconds for a connection and for each reply
SENTINEL_PORT = 26379
CLUSTER_PORT = 6379
_read_url: Any = redis.connection.parse_url  # has no types


class _BadUrlError(ValueError):
    """What is wrong with a URL, in words that quote nothing of it."""


def connect_redis(url: str) -> Any:
    """Return a client of the server at a URL; only a cluster is asked at once. Raises ConfigError, RedisError."""
    return _client(url, redis)


def aconnect_redis(url: str) -> Any:
    """Return an async client of the server at a URL; nothing is sent yet. Raises ConfigError."""
    return _client(url, redis.asyncio)


def call(client: Any, verb: Verb) -> Any:
    """Carry out one verb. Raises RedisError; it may be sent again then, whatever became of it."""
    with one_root():
        try:
            return client.evalsha(verb.sha, len(verb.keys), *verb.keys, *verb.args)
        except NoScriptError:
            return client.eval(verb.text, len(verb.keys), *verb.keys, *verb.args)


async def acall(client: Any, verb: Verb) -> Any:
    """Carry out one verb on an async client. Raises RedisError; it may be sent again then."""
    with one_root():
        try:
            return await client.evalsha(verb.sha, len(verb.keys), *verb.keys, *verb.args)
        except NoScriptError:
            return await client.eval(verb.text, len(verb.keys), *verb.keys, *verb.args)


async def aclose(client: Any) -> None:
    """Close an async client, and with it those of the sentinels that led to its server."""
    sentinels = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for one in (client, *(sentinels.sentinels if sentinels is not None else ())):
        await one.aclose()


async def hazard(client: Any) -> str | None:
    """Return what about the server's settings could break a limit, in one sentence, or None. Raises RedisError."""
    whom = {"target_nodes": "primaries"} if isinstance(client, redis.asyncio.RedisCluster) else {}
    with one_root():
        memory = await client.info("memory", **whom)
    nodes = memory.values() if memory and all(isinstance(node, dict) for node in memory.values()) else [memory]
    policies = {node.get("maxmemory_policy", "noeviction") for node in nodes if node.get("maxmemory")}
    if policies <= {"noeviction"}:
        return None
    policy = ", ".join(sorted(policies - {"noeviction"}))
    return f"Redis may evict what limits rest on: its maxmemory-policy is {policy}, it should be noeviction"


@contextmanager
def one_root() -> Iterator[None]:
    """Raise RedisError for what a cluster's client raises beside it, such as a cluster that is away."""
    try:
        yield
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error


def _client(url: str, library: Any) -> Any:
    try:
        return _of_kind(url, _split(url), library)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"bad Redis URL {_shown(url)!r}: {_reason(url, error)}") from None


def _split(url: str) -> SplitResult:
    """Split a URL. Its hosts may be a list, which urllib of newer Pythons refuses where one is an IPv6 address."""
    scheme, mark, rest = url.partition("://")
    hosts = re.split("[/?#]", rest)[0]
    return urlsplit(f"{scheme}{mark}{rest[len(hosts) :]}")._replace(netloc=hosts)


def _of_kind(url: str, parts: SplitResult, library: Any) -> Any:
    options: dict[str, Any] = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
    match parts.scheme.removeprefix("rediss").removeprefix("redis"):
        case "" | "unix":
            return _checked(library.Redis.from_url(url, **options))
        case "+cluster":
            return _cluster(parts, library, options | _access(parts))
        case "+sentinel":
            return _watched(parts, library, options | _access(parts))
    raise _BadUrlError("it must begin with redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://")


def _checked(client: Any) -> Any:
    """Return a client of one server; an option that it does not know is an error now, not at the first call."""
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)
    return client


def _cluster(parts: SplitResult, library: Any, options: dict[str, Any]) -> Any:
    node = library.cluster.ClusterNode
    nodes = [node(host, port) for host, port in _hosts(parts, CLUSTER_PORT)]
    with one_root():
        return library.RedisCluster(startup_nodes=nodes, **options)


def _watched(parts: SplitResult, library: Any, options: dict[str, Any]) -> Any:
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise _BadUrlError("it must name the service: redis+sentinel://host:port/service")
    plain = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout")}
    watch = library.sentinel.Sentinel(_hosts(parts, SENTINEL_PORT), sentinel_kwargs=plain, **options)
    return watch.master_for(service, db=int(database or 0))


def _hosts(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    found = []
    for place in parts.netloc.rpartition("@")[2].split(","):
        host, _, number = place.rpartition(":") if ":" in place.rpartition("]")[2] else (place, "", str(port))
        if not host:
            raise _BadUrlError("it names no host")
        found.append((host.strip("[]"), int(number)))
    return found


def _access(parts: SplitResult) -> dict[str, Any]:
    """Return the options that a URL gives, as the library reads them from a URL of one server."""
    user, at, _ = parts.netloc.rpartition("@")
    scheme = parts.scheme.partition("+")[0]
    options: dict[str, Any] = _read_url(f"{scheme}://{user}{at}localhost/?{parts.query}")
    del options["host"]
    if options.pop("connection_class", None) is not None:
        options["ssl"] = True
    return options


def _shown(url: str) -> str:
    """Return a URL without anything that may be a password."""
    return re.sub("//.*@", "//", url, flags=re.DOTALL).partition("?")[0]


def _reason(url: str, error: Exception) -> str:
    """Return what is wrong with a URL; the library's own words may quote a password."""
    if isinstance(error, _BadUrlError) or "@" not in url:
        return str(error)
    if "@" not in re.split("[/?#]", url.partition("//")[2])[0]:
        return "special characters in its user name and password must be written as %XX"
    return "it is malformed"
