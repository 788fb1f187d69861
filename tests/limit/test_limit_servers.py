"""What servers do to limits: forget scripts, forget everything, run out of memory, restrict who asks, lose replies."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from desk import TTL, Desk, granted
from lossy_proxy import Proxy
from valkeys import Server

from pgq import acl, limit
from pgq.grants import Request, Taken
from pgq.limiter import RedisError, acall, aconnect_redis, call, connect_redis, hazard
from pgq.script import Verb

# What the tour does not run: kinds are published, those who were denied are listed, settings are read.
BESIDE = ("hkeys", "info", "zrevrange")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own."""
    server = Server(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
def own(server: Server) -> Iterator[Desk]:
    """A desk at that server."""
    client = connect_redis(server.url)
    yield Desk(client, "pgq")
    client.close()


# — memory —


def test_scripts_flushed_between_any_two_calls_are_no_error(own: Desk) -> None:
    queue = own.queue(5, per=1.0)
    for number in range(300):
        own.client.script_flush()
        own.take(queue, str(number))
        own.report((queue, (str(number), 0, 0)))
    assert own.sums(queue) == (0, 0)


async def test_scripts_flushed_all_the_time_are_no_error(own: Desk, server: Server) -> None:
    queue, over, flushes = own.queue(10_000, per=60.0), threading.Event(), 0

    def flush() -> None:
        nonlocal flushes
        with server.client() as client:
            while not over.is_set():
                client.script_flush()
                flushes += 1

    flusher = threading.Thread(target=flush)
    flusher.start()
    client = aconnect_redis(server.url)
    try:
        for number in range(1000):
            reply = await acall(client, limit.take(queue, TTL, str(number), 1))
            assert limit.taken(reply) == Taken(1)
    finally:
        over.set()
        flusher.join()
        await client.aclose()
    assert flushes > 100


def test_a_server_that_was_flushed_grants_nothing_until_it_was_told_what_runs(own: Desk) -> None:
    queue, key = own.queue(5, per=60.0, slots=5), own.key("a", slots=1)
    own.remember()
    own.take(queue, "a", 3)
    own.client.flushall()
    assert own.take(queue, "b").forgotten
    asked = [Request("c", (key,))]
    assert limit.answers(asked, own.say(limit.acquire(own.prefix, TTL, asked))) is None
    own.hold((queue, ("a", 3, 3)), complete=True, units=True)
    assert own.take(queue, "b", 5).granted == 2


def test_a_server_that_came_back_empty_grants_nothing_until_it_was_told_what_runs(own: Desk, server: Server) -> None:
    queue = own.queue(5, per=60.0)
    own.take(queue, "a", 3)
    server.kill()
    with pytest.raises(RedisError):
        own.take(queue, "b")
    server.start()
    assert own.take(queue, "b").forgotten


@pytest.mark.parametrize(
    ("most", "policy", "warns"),
    [
        ("0", "allkeys-lru", False),
        ("64mb", "noeviction", False),
        ("64mb", "allkeys-lru", True),
        ("64mb", "volatile-ttl", True),
    ],
)
async def test_a_server_that_may_evict_is_named_as_a_hazard(
    server: Server, most: str, policy: str, warns: bool
) -> None:
    with server.client() as client:
        client.config_set("maxmemory", most)
        client.config_set("maxmemory-policy", policy)
    asked = aconnect_redis(server.url)
    found = await hazard(asked)
    await asked.aclose()
    assert (found is not None) == warns
    if found is not None:
        assert policy in found
        assert "noeviction" in found


def test_a_server_without_memory_refuses_a_call_whole(own: Desk) -> None:
    queue = own.queue(5, per=1.0, slots=5)
    own.take(queue, "a", 3)
    own.wait(TTL)
    own.client.config_set("maxmemory", "1")
    for _ in range(3):
        with pytest.raises(RedisError, match=r"OOM|memory"):
            own.take(queue, "b", 5)
    own.client.config_set("maxmemory", "0")
    assert own.take(queue, "b", 5) == Taken(5)
    assert own.sums(queue) == (5, 5)


# — access —


def tour(desk: Desk) -> None:
    """Make every verb touch everything it may ever touch."""
    memory = call(desk.client, limit.begin(desk.key("a").place))
    desk.say(limit.hold(TTL, [], desk.key("a").place, complete=memory, units=True))
    key = desk.key("a", 2, per=1.0, slots=2)
    counts = f"{desk.prefix}:{{keys}}:denials"
    call(desk.client, limit.look(TTL, [key]))  # by the server's own clock
    assert granted(desk.acquire(*(Request(permit, (key,)) for permit in "abc"))) == [True, True, False]
    assert desk.client.exists(counts)
    desk.stamp(key, "a")
    desk.hold((key, ("a", 1, 1)), (key, ("x", 1, 1)), units=True)
    desk.pause(0.1, key)
    desk.report((key, ("a", 1, 0)), (key, ("b", 0, 0)))
    desk.wait(-1)
    desk.take(key, "d")
    desk.wait(TTL + 9)
    desk.take(key, "e")
    desk.wait(TTL + 9)
    desk.look(key)


def crowd(server: Server) -> None:
    """Let so many keys have been denied that they must be thinned out."""
    with server.client() as client:
        client.flushall()
        client.zadd("pgq:{keys}:denials", {str(number): number for number in range(10_001)})


def limited(server: Server, without: str = "") -> Desk:
    words = acl.line("pgq", "worker").replace("PASSWORD", "secret").split()[1:]
    with server.client() as client:
        client.execute_command(
            "ACL", "SETUSER", words[0], "reset", *(word for word in words[1:] if word != f"+{without}")
        )
    return Desk(connect_redis(f"redis://worker:secret@127.0.0.1:{server.port}"), "pgq")


async def test_a_user_needs_these_commands_on_its_own_keys_and_nothing_else(server: Server) -> None:
    crowd(server)
    desk = limited(server)
    tour(desk)
    with pytest.raises(RedisError):
        desk.client.get("other:key")
    desk.client.close()
    asked = aconnect_redis(f"redis://worker:secret@127.0.0.1:{server.port}")
    assert await hazard(asked) is None
    await asked.aclose()


@pytest.mark.parametrize("command", sorted(set(acl.COMMANDS) - set(BESIDE)))
def test_none_of_these_commands_can_be_missing(server: Server, command: str) -> None:
    crowd(server)
    desk = limited(server, without=command)
    with pytest.raises(RedisError):
        tour(desk)
    desk.client.close()


@pytest.mark.parametrize("command", sorted(acl.COMMANDS))
def test_a_command_that_is_missing_is_named(server: Server, command: str) -> None:
    desk = limited(server, without=command)
    try:
        named = acl.named(call(desk.client, acl.missing("pgq")))
    except RedisError as error:
        named = [command for command in acl.COMMANDS if f"'{command}'" in str(error)]
    assert named == [command]
    desk.client.close()


# — the way there —


@pytest.mark.parametrize("losses", [1, 2, 7])
def test_a_call_whose_reply_was_lost_counts_once(server: Server, losses: int) -> None:
    with Proxy(server.port) as proxy:
        client = connect_redis(f"redis://127.0.0.1:{proxy.port}")
        desk = Desk(client, "pgq")
        queue, key = desk.queue(9, per=60.0, slots=9), desk.key("a", 9, per=60.0, slots=9)
        desk.remember()
        proxy.lose(losses)
        assert insist(client, limit.take(queue, TTL, "a", 3))[0] == 3
        proxy.lose(losses)
        insist(client, limit.acquire("pgq", TTL, [Request("b", (key,), 2)]))
        proxy.lose(losses)
        insist(client, limit.report(TTL, [(queue, ("a", 2, 1))]))
        assert [call(client, limit.look(TTL, [one]))[:2] for one in (queue, key)] == [[2, 1], [2, 1]]
        client.close()
    with server.client() as plain:
        assert (
            plain.info("commandstats")["cmdstat_eval"]["calls"] + plain.info("commandstats")["cmdstat_evalsha"]["calls"]
            > 7
        )


def insist(client: Any, verb: Verb) -> Any:
    """Say it until there is a reply, as a worker does."""
    for _ in range(20):
        try:
            return call(client, verb)
        except RedisError:
            continue
    raise AssertionError("no reply came")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 with its key."""
    if not which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    file = tmp_path / "server.pem"
    words = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=pgq",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run(["openssl", *words, "-keyout", file, "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    with file.open("a") as out:
        out.write((tmp_path / "cert.pem").read_text())
    return file


async def test_a_server_is_reached_through_tls_and_its_certificate_is_checked(
    server: Server, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Proxy(server.port, context) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}"
        trusting = f"{url}?ssl_ca_certs={certificate.with_name('cert.pem')}"
        with connect_redis(trusting) as client:
            desk = Desk(client, "pgq")
            assert desk.take(desk.queue(1, per=60.0), "a").granted == 1
        asked = aconnect_redis(trusting)
        assert limit.taken(await acall(asked, limit.take(desk.queue(1, per=60.0), TTL, "b", 1))) == Taken(1)
        await asked.aclose()
        with connect_redis(f"{url}?socket_timeout=5") as stranger, pytest.raises(RedisError, match=r"(?i)certificate"):
            stranger.ping()
