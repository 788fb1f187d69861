"""Redis URLs: what they may say, and that a wrong one is named in one sentence without its password."""

from __future__ import annotations

from typing import Any

import pytest

from pgq.errors import ConfigError
from pgq.limiter import RedisError, aconnect_redis, connect_redis

SECRET = "hunter2"  # noqa: S105 - a made-up one


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "must specify one of the following schemes"),
        ("localhost:6379", "it must begin with redis://"),
        ("http://localhost", "it must begin with redis://"),
        ("redis+clusters://localhost", "it must begin with redis://"),
        (f"redis://:{SECRET}@localhost:port", "malformed"),
        (f"redis://me:{SECRET}[@localhost", "malformed"),
        (f"redis://me:{SECRET}/x@localhost:6379/0", "must be written as %XX"),
        (f"redis://me:{SECRET}#x@localhost:6379/0", "must be written as %XX"),
        (f"redis://me:{SECRET}?x@localhost:6379/0", "must be written as %XX"),
        ("redis://localhost?socket_timeout=soon", "Invalid value for 'socket_timeout'"),
        (f"redis://localhost?password={SECRET}&colour=red", "unexpected keyword argument 'colour'"),
        ("redis+cluster://", "it names no host"),
        (f"redis+cluster://:{SECRET}@", "it names no host"),
        ("redis+cluster://localhost:1,,localhost:2", "it names no host"),
        (f"redis+cluster://me:{SECRET}@localhost:port", "malformed"),
        (f"redis+sentinel://me:{SECRET}@localhost:26379", "it must name the service"),
        (f"redis+sentinel://me:{SECRET}@localhost:port/limits", "malformed"),
        (f"redis+sentinel://me:{SECRET}@localhost/limits/zero", "malformed"),
    ],
)
@pytest.mark.parametrize("connect", [connect_redis, aconnect_redis])
def test_a_wrong_url_is_named_in_one_sentence_without_its_password(connect: Any, url: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(url)
    said = str(caught.value)
    assert said.startswith("bad Redis URL '")
    assert complaint in said
    assert SECRET not in said
    assert "\n" not in said
    assert caught.value.__cause__ is None


async def test_sentinel_urls_name_several_sentinels_a_service_and_a_database() -> None:
    client = aconnect_redis("rediss+sentinel://me:p%40ss@a,b:1,[::1]:2/limits/3?socket_timeout=0.5")
    pool = client.connection_pool
    hosts = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in hosts] == [("a", 26379), ("b", 1), ("::1", 2)]
    found = {name: pool.connection_kwargs[name] for name in ("username", "password", "db", "socket_timeout")}
    assert found == {"username": "me", "password": "p@ss", "db": 3, "socket_timeout": 0.5}
    assert pool.service_name == "limits"
    await client.aclose()


async def test_a_client_of_one_server_or_of_an_async_cluster_sends_nothing_before_it_is_asked() -> None:
    for url in ("redis://127.0.0.1:1", "rediss://127.0.0.1:1", "unix:///nowhere", "redis+cluster://127.0.0.1:1"):
        await aconnect_redis(url).aclose()
    connect_redis("redis://127.0.0.1:1").close()


def test_a_cluster_that_is_away_is_no_mistake_in_its_url() -> None:
    with pytest.raises(RedisError):
        connect_redis("redis+cluster://127.0.0.1:1")


def test_a_server_that_does_not_answer_is_given_up_after_a_second() -> None:
    options = connect_redis("redis://127.0.0.1:1").connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (1.0, 1.0)
