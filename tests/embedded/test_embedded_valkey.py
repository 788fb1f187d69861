from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from redis import Redis

from pgq.embedded import EmbeddedError, Valkey


def process_id(home: Path) -> int:
    return int((home / "valkey/data/pid").read_text())


def test_a_server_starts_from_nothing_and_stops(home: Path) -> None:
    server = Valkey(home)
    assert not server.running
    with Redis.from_url(server.start().url) as redis:
        assert redis.eval("return redis.call('TIME')[1]", 0)
    assert server.running
    assert server.stop()
    assert not server.running
    assert not server.stop()


def test_defaults_never_evict_and_append_every_write(home: Path) -> None:
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
    with Redis.from_url(Valkey(home).start().url, decode_responses=True) as redis:
        assert redis.config_get(*wanted) == wanted


def test_settings_may_hold_spaces_quotes_and_several_words(home: Path) -> None:
    settings = {
        "requirepass": 'it\'s \\ a "secret"',
        "client-output-buffer-limit": ["pubsub", "32mb", "8mb", 60],
        "activedefrag": False,
    }
    server = Valkey(home, settings).start()
    with Redis.from_url(server.url, password=settings["requirepass"], decode_responses=True) as redis:
        assert "pubsub 33554432 8388608 60" in redis.config_get("client-output-buffer-limit").popitem()[1]


def test_a_second_start_attaches(home: Path) -> None:
    first = Valkey(home).start()
    running = process_id(home)
    assert Valkey(home, {"appendonly": "no"}).start().url == first.url
    assert process_id(home) == running


@pytest.mark.fault
def test_data_survives_kill_9(home: Path) -> None:
    server = Valkey(home).start()
    with Redis.from_url(server.url) as redis:
        redis.set("kept", 42)
    server.kill()
    assert not server.running
    with Redis.from_url(server.start().url) as redis:
        assert redis.get("kept") == b"42"


@pytest.mark.fault
def test_a_server_without_its_socket_is_not_started_twice(home: Path) -> None:
    server = Valkey(home).start()
    running = process_id(home)
    (home / "valkey/run/r.sock").unlink()
    try:
        with pytest.raises(EmbeddedError, match="a server still works in"):
            server.start(timeout=0.1)
    finally:
        os.kill(running, signal.SIGKILL)
        os.waitpid(running, 0)
    assert server.start().running


def test_a_failed_start_quotes_the_log(home: Path) -> None:
    with pytest.raises(EmbeddedError, match="maxmemory-policy"):
        Valkey(home, {"maxmemory-policy": "plenty"}).start()
