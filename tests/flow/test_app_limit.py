"""app.limit: code outside any worker shares limits with tasks, from threads, event loops and other processes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import pgq
from pgq import embedded
from pgq.grants import Limit, Request, key_limit, keys_place
from pgq.limit import acquire, answers, hold, report
from pgq.limiter import call
from pgq.script import Verb

ROOT = Path(__file__).parents[2]
PROLOGUE = """
import asyncio, os, sys, threading, time
import pgq
app = pgq.App()
app.key_limit("one", concurrency=1)
app.key_limit("rate", rate=pgq.Rate(8, per=0.5))
def clock():
    return time.clock_gettime(time.CLOCK_MONOTONIC)
"""
AWAY = "unix:///nowhere/at.all"


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what the keys of this test begin with, for this process and its children."""
    name = f"pgq:test:{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("PGQ_LIMIT_PREFIX", name)
    return name


@pytest.fixture
def client(redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """Return a client of a server that has been told by a worker what runs: nothing."""
    monkeypatch.setenv("PGQ_REDIS_URL", redis_url)
    with Redis.from_url(redis_url) as redis:
        remembers(redis, prefix)
        yield redis
    until(lambda: not keepers())


@pytest.fixture
def own(prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[embedded.Valkey]:
    """Run a server to maltreat; it keeps nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="pgq-limit-", dir="/tmp") as home:
        Path(home).chmod(0o755)
        server = embedded.Valkey(Path(home), {"appendonly": "no"}).start()
        monkeypatch.setenv("PGQ_REDIS_URL", server.url)
        with Redis.from_url(server.url) as redis:
            remembers(redis, prefix)
        yield server
        until(lambda: not keepers())
        server.kill()


@pytest.fixture
def app() -> pgq.App:
    return new_app()


def new_app() -> pgq.App:
    """Return an app with a client of its own, as another process would have it."""
    app = pgq.App()
    app.key_limit("one", concurrency=1)
    app.key_limit("three", concurrency=3)
    app.key_limit("rate", rate=pgq.Rate(8, per=0.5))
    app.key_limit("slow", rate=pgq.Rate(2, per=3600))
    return app


def remembers(redis: Redis, prefix: str) -> None:
    call(redis, hold(1.0, [], keys_place(prefix), complete=True, units=False))


def running(redis: Redis, prefix: str, key: str) -> int:
    return int(redis.zcard(f"{keys_place(prefix)}:{key}:running"))


def until(reached: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def keepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pgq-permits"]


def fullest(moments: list[float], per: float) -> int:
    """Return how many of the moments lie in the fullest window, wherever it begins."""
    ordered = sorted(moments)
    return max(sum(1 for moment in ordered[i:] if moment < start + per) for i, start in enumerate(ordered))


def most_at_once(spans: list[tuple[float, float]]) -> int:
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    return max(sum(change for _, change in changes[: i + 1]) for i in range(len(changes)))


def script(code: str) -> subprocess.Popen[str]:
    """Start a program of its own that has the app; every warning is an error in it."""
    command = [sys.executable, "-W", "error", "-c", PROLOGUE + code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def said_by(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


# — threads and event loops —


def test_a_slot_is_held_inside_with_and_free_after_it(client: Redis, prefix: str, app: pgq.App) -> None:
    with app.limit("one", key="a") as permit:
        assert permit.held
        assert running(client, prefix, "one:a") == 1
        with pytest.raises(pgq.LimitExceeded, match="one:a"), app.limit("one", key="a", timeout=0):
            pytest.fail("there was only one slot")
        with app.limit("one", key="b", timeout=0):
            pass
    assert not permit.held
    assert running(client, prefix, "one:a") == 0
    with app.limit("one", key="a", timeout=0):
        pass


async def test_a_slot_is_held_inside_async_with_and_free_after_it(client: Redis, prefix: str, app: pgq.App) -> None:
    async with app.limit("one", key="a", timeout=1) as permit:
        assert permit.held
        with pytest.raises(pgq.LimitExceeded):
            async with app.limit("one", key="a", timeout=0):
                pytest.fail("there was only one slot")
    assert not permit.held
    assert running(client, prefix, "one:a") == 0


@pytest.mark.usefixtures("client")
async def test_threads_and_event_loops_share_one_limit(app: pgq.App) -> None:
    with app.limit("one", key="a"), pytest.raises(pgq.LimitExceeded):
        async with app.limit("one", key="a", timeout=0):
            pytest.fail("a thread held the slot")
    async with app.limit("one", key="a", timeout=0):
        with pytest.raises(pgq.LimitExceeded), app.limit("one", key="a", timeout=0):
            pytest.fail("a task held the slot")


def test_a_task_and_web_code_share_one_limit(client: Redis, prefix: str, app: pgq.App) -> None:
    limit = key_limit(prefix, "one:a", app.key_limits["one"])
    with app.limit("one", key="a"):
        assert not asks(client, prefix, limit)
    assert asks(client, prefix, limit)
    with pytest.raises(pgq.LimitExceeded), app.limit("one", key="a", timeout=0):
        pytest.fail("a task held the slot")
    call(client, report(30.0, [(limit, ("lease/1", 1, 0))]))
    with app.limit("one", key="a", timeout=0):
        pass


def asks(client: Redis, prefix: str, limit: Limit) -> bool:
    """Ask as a worker does for a task."""
    requests = [Request("lease/1", (limit,))]
    found = answers(requests, call(client, acquire(prefix, 30.0, requests)))
    assert found is not None
    return found[0].granted


@pytest.mark.usefixtures("client")
def test_no_more_than_its_slots_are_ever_in_whoever_they_are(app: pgq.App) -> None:
    spans: list[tuple[float, float]] = []

    def in_a_thread() -> None:
        for _ in range(4):
            with app.limit("three", key="a"):
                began = time.monotonic()
                time.sleep(0.01)
                spans.append((began, time.monotonic()))

    async def in_a_task() -> None:
        for _ in range(4):
            async with app.limit("three", key="a"):
                began = time.monotonic()
                await asyncio.sleep(0.01)
                spans.append((began, time.monotonic()))

    async def in_a_loop() -> None:
        await asyncio.gather(*(in_a_task() for _ in range(6)))

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(in_a_thread) for _ in range(6)] + [pool.submit(lambda: asyncio.run(in_a_loop()))]
        for job in jobs:
            job.result(60)
    assert len(spans) == 48
    assert most_at_once(spans) == 3


@pytest.mark.usefixtures("client")
def test_no_window_of_a_rate_holds_more_than_its_units_across_processes_threads_and_loops(app: pgq.App) -> None:
    by_threads = "for _ in range(12):\n    with app.limit('rate', key='a'):\n        print(clock())\n"
    by_tasks = (
        "async def one():\n    async with app.limit('rate', key='a'):\n        print(clock())\n"
        "async def main():\n    await asyncio.gather(*(one() for _ in range(12)))\nasyncio.run(main())\n"
    )
    others = [script(by_threads), script(by_tasks)]
    moments = []
    for _ in range(8):
        with app.limit("rate", key="a"):
            moments.append(time.clock_gettime(time.CLOCK_MONOTONIC))
    moments += [float(line) for other in others for line in said_by(other).splitlines()]
    assert len(moments) == 32
    assert fullest(moments, 0.5) <= 8
    assert max(moments) - min(moments) >= 3 * 0.5


@pytest.mark.usefixtures("client")
def test_a_weight_takes_so_many_units(app: pgq.App) -> None:
    with app.limit("rate", key="a", weight=8, timeout=0):
        pass
    with pytest.raises(pgq.LimitExceeded), app.limit("rate", key="a", timeout=0):
        pytest.fail("its window was full")
    with pytest.raises(pgq.InvalidOption, match="weight must be at most 8, the rate of limit 'rate', got 9"):
        app.limit("rate", key="a", weight=9).__enter__()


@pytest.mark.usefixtures("client")
def test_a_rate_that_cannot_let_it_in_before_the_timeout_says_so_at_once(app: pgq.App) -> None:
    with app.limit("slow", key="a", weight=2):
        began = time.monotonic()
        with pytest.raises(pgq.LimitExceeded) as caught:
            app.limit("slow", key="a", timeout=30).__enter__()
    assert time.monotonic() - began < 5
    assert 3000 < caught.value.retry_after <= 3601
    assert caught.value.key == "slow:a"


@pytest.mark.usefixtures("client")
def test_a_timeout_is_waited_for_where_a_slot_may_come_free(app: pgq.App) -> None:
    with app.limit("one", key="a"):
        began = time.monotonic()
        with pytest.raises(pgq.LimitExceeded), app.limit("one", key="a", timeout=0.4):
            pytest.fail("there was only one slot")
    assert 0.4 <= time.monotonic() - began < 3


@pytest.mark.usefixtures("client")
async def test_those_who_stand_in_line_wait_no_longer_than_their_timeout(app: pgq.App) -> None:
    async def waits(seconds: float) -> float:
        began = time.monotonic()
        with pytest.raises(pgq.LimitExceeded):
            await app.limit("one", key="a", timeout=seconds).__aenter__()
        return time.monotonic() - began

    async with app.limit("one", key="a"):
        took = await asyncio.gather(waits(0.6), waits(0.2), waits(0.0))
    assert 0.6 <= took[0] < 3
    assert 0.2 <= took[1] < 0.6
    assert took[2] < 0.2


async def test_of_many_that_wait_for_one_key_only_the_first_asks(own: embedded.Valkey, app: pgq.App) -> None:
    app.key_limit("tenth", rate=pgq.Rate(1, per=0.05))

    async def enter() -> None:
        async with app.limit("tenth", key="a"):
            pass

    await asyncio.gather(*(enter() for _ in range(25)))
    assert asked(own) < 150  # 25 asks at once, then one or two and a report each; else 350


async def test_who_comes_later_does_not_overtake_those_who_stand_in_line(own: embedded.Valkey, app: pgq.App) -> None:
    entered: list[str] = []

    async def enter(name: str) -> None:
        async with app.limit("one", key="a"):
            entered.append(name)

    async with app.limit("one", key="a"):
        first = asyncio.create_task(enter("first"))
        await asyncio.to_thread(until, lambda: asked(own) >= 6)  # by now it naps for a good while
    await asyncio.gather(first, enter("second"))
    assert entered == ["first", "second"]


def test_threads_do_not_overtake_either(own: embedded.Valkey, app: pgq.App) -> None:
    entered: list[str] = []

    def enter(name: str) -> None:
        with app.limit("one", key="a"):
            entered.append(name)

    with ThreadPoolExecutor(1) as pool:
        with app.limit("one", key="a"):
            first = pool.submit(enter, "first")
            until(lambda: asked(own) >= 6)
        enter("second")
        first.result(10)
    assert entered == ["first", "second"]


def asked(server: embedded.Valkey) -> int:
    """Return how many scripts a server has been asked to run."""
    with Redis.from_url(server.url) as redis:
        return int(redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


# — what is held lasts as long as its process —


@pytest.mark.usefixtures("client")
def test_a_permit_that_is_held_longer_than_its_hold_is_renewed(app: pgq.App) -> None:
    with app.limit("one", key="a", hold=1):
        assert len(keepers()) == 1
        with pytest.raises(pgq.LimitExceeded):
            app.limit("one", key="a", timeout=2.5).__enter__()
        assert len(keepers()) == 1
    until(lambda: not keepers())


@pytest.mark.usefixtures("client")
async def test_a_permit_of_a_loop_is_renewed_too(app: pgq.App) -> None:
    async with app.limit("one", key="a", hold=1):
        with pytest.raises(pgq.LimitExceeded):
            async with app.limit("one", key="a", timeout=2.5):
                pytest.fail("the hold lapsed")
        (keeper,) = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait_for(keeper, 10)


@pytest.mark.fault
@pytest.mark.usefixtures("client")
def test_the_slot_of_a_killed_process_is_free_after_its_hold(app: pgq.App) -> None:
    code = "with app.limit('one', key='a', hold=1.5):\n    print('in', flush=True)\n    time.sleep(60)"
    holder = script(code)
    assert holder.stdout.readline() == "in\n"
    with pytest.raises(pgq.LimitExceeded), app.limit("one", key="a", timeout=2):
        pytest.fail("the holder lives")
    holder.kill()
    holder.communicate()
    with app.limit("one", key="a", timeout=1.5 + 1):
        pass


def test_an_exception_of_the_body_goes_through_and_the_slot_comes_back(
    client: Redis, prefix: str, app: pgq.App
) -> None:
    with pytest.raises(ZeroDivisionError), app.limit("one", key="a"):
        _ = 1 / 0
    assert running(client, prefix, "one:a") == 0


async def test_who_is_cancelled_while_waiting_or_inside_leaves_nothing_behind(
    client: Redis, prefix: str, app: pgq.App
) -> None:
    inside = asyncio.Event()

    async def stay() -> None:
        async with app.limit("one", key="a"):
            inside.set()
            await asyncio.sleep(60)

    first = asyncio.create_task(stay())
    await inside.wait()
    others = [asyncio.create_task(stay()) for _ in range(3)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.gather(*others)
    first.cancel()
    await asyncio.wait([first])
    assert running(client, prefix, "one:a") == 0
    async with app.limit("one", key="a", timeout=0):
        pass


async def test_who_is_cancelled_at_any_moment_leaves_nothing_behind(client: Redis, prefix: str, app: pgq.App) -> None:
    async def stay() -> None:
        async with app.limit("three", key="a"):
            await asyncio.sleep(60)

    for step in range(40):  # a little later each time: before the request, before its reply, after it
        task = asyncio.create_task(stay())
        await asyncio.sleep(step * 0.0001)
        task.cancel()
        await asyncio.wait([task])
        assert running(client, prefix, "three:a") == 0


@pytest.mark.fault
def test_a_thread_that_is_interrupted_before_the_reply_leaves_nothing_behind(
    own: embedded.Valkey, prefix: str, app: pgq.App
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    with Redis.from_url(own.url) as redis:
        server = redis.info("server")["process_id"]
        app.limit("one", key="b").__enter__().__exit__(None, None, None)  # so that the settings are known
        try:
            os.kill(server, signal.SIGSTOP)
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                app.limit("one", key="a").__enter__()
        finally:
            os.kill(server, signal.SIGCONT)
            timer.join()
            signal.signal(signal.SIGUSR1, before)
        until(lambda: not keepers())
        assert running(redis, prefix, "one:a") == 0
        assert asked(own) >= 4  # both requests arrived all the same


@pytest.mark.usefixtures("client")
def test_a_permit_may_be_used_again_but_not_twice_at_once(app: pgq.App) -> None:
    permit = app.limit("three", key="a")
    for _ in range(2):
        with permit:
            with pytest.raises(RuntimeError, match="in use"):
                permit.__enter__()
            assert permit.held


# — feedback and settings —


def test_throttle_lets_nobody_in_for_a_while(client: Redis, prefix: str, app: pgq.App) -> None:
    with app.limit("three", key="a") as permit:
        permit.throttle(30)
    with pytest.raises(pgq.LimitExceeded) as caught:
        app.limit("three", key="a", timeout=0).__enter__()
    assert 25 < caught.value.retry_after <= 30
    assert not asks(client, prefix, key_limit(prefix, "three:a", app.key_limits["three"]))


@pytest.mark.usefixtures("client")
async def test_athrottle_ends_when_it_said(app: pgq.App) -> None:
    async with app.limit("rate", key="a") as permit:
        began = time.monotonic()
        await permit.athrottle(0.5)
    async with app.limit("rate", key="a"):
        assert 0.5 <= time.monotonic() - began < 3


def publish(redis: Redis, prefix: str, kind: str, **settings: Any) -> None:
    """Publish settings as workers do."""
    text = json.dumps({"rate_max": None, "rate_per": None, "concurrency": None} | settings)
    call(redis, Verb("publish", [f"{keys_place(prefix)}:settings"], [kind, text]))


def test_settings_that_workers_published_are_preferred_and_read_again(client: Redis, prefix: str, app: pgq.App) -> None:
    publish(client, prefix, "one", concurrency=2)
    with app.limit("one", key="a", timeout=0), app.limit("one", key="a", timeout=0):
        with pytest.raises(pgq.LimitExceeded), app.limit("one", key="a", timeout=0):
            pytest.fail("two were in")
        publish(client, prefix, "one", concurrency=3)
        with app.limit("one", key="a", timeout=3):
            pass


def test_a_limit_that_was_lifted_live_limits_nothing(client: Redis, prefix: str, app: pgq.App) -> None:
    publish(client, prefix, "one")
    with app.limit("one", key="a", timeout=0), app.limit("one", key="a", timeout=0):
        pass


# — a server that forgot, or is away —


@pytest.mark.fault
def test_after_a_flush_what_is_held_is_told_before_anybody_gets_in(own: embedded.Valkey, app: pgq.App) -> None:
    other = new_app()
    with Redis.from_url(own.url) as redis, app.limit("one", key="a"):
        redis.flushall()
        with pytest.raises(pgq.LimitExceeded), other.limit("one", key="a", timeout=2.5):
            pytest.fail("the first holds it still")
    with other.limit("one", key="a", timeout=0):
        pass


@pytest.mark.fault
def test_what_is_held_is_told_even_if_a_worker_came_first(own: embedded.Valkey, prefix: str, app: pgq.App) -> None:
    with Redis.from_url(own.url) as redis, app.limit("one", key="a"):
        redis.flushall()
        remembers(redis, prefix)
        until(lambda: running(redis, prefix, "one:a"))


@pytest.mark.fault
async def test_after_a_restart_that_lost_everything_it_goes_on(own: embedded.Valkey, app: pgq.App) -> None:
    async with app.limit("one", key="a"):
        await asyncio.to_thread(own.kill)
        await asyncio.to_thread(own.start)
        with pytest.raises(pgq.LimitExceeded):
            async with app.limit("one", key="a", timeout=2.5):
                pytest.fail("it is held still")
    async with app.limit("one", key="a", timeout=0):
        pass


def test_without_any_worker_a_new_server_gives_permits_after_a_second(own: embedded.Valkey, app: pgq.App) -> None:
    with Redis.from_url(own.url) as redis:
        redis.flushall()
    began = time.monotonic()
    with app.limit("one", key="a"):
        assert 1.0 <= time.monotonic() - began < 5


def test_who_may_not_wait_gets_in_after_that_second_too(own: embedded.Valkey, app: pgq.App) -> None:
    with Redis.from_url(own.url) as redis:
        redis.flushall()
    with pytest.raises(pgq.LimitExceeded) as caught:
        app.limit("one", key="a", timeout=0).__enter__()
    assert 0 < caught.value.retry_after <= 1
    time.sleep(caught.value.retry_after)
    with app.limit("one", key="a", timeout=0):
        pass


@pytest.mark.usefixtures("prefix")
@pytest.mark.parametrize("timeout", [None, 0, 5])
def test_while_the_limiter_is_away_it_raises_at_once(app: pgq.App, timeout: float | None) -> None:
    app.redis_url = AWAY
    began = time.monotonic()
    with pytest.raises(pgq.LimiterDown, match="no permit of limit 'one:a': the limiter is away"):
        app.limit("one", key="a", timeout=timeout).__enter__()
    assert time.monotonic() - began < 2


@pytest.mark.usefixtures("prefix")
@pytest.mark.parametrize("url", [AWAY, "redis+cluster://127.0.0.1:1"])
async def test_while_the_limiter_is_away_it_raises_at_once_in_a_loop(app: pgq.App, url: str) -> None:
    app.redis_url = url
    with pytest.raises(pgq.LimiterDown):
        await app.limit("one", key="a").__aenter__()
    with pytest.raises(pgq.LimiterDown):
        await app.limit("one", key="a").athrottle(1)


@pytest.mark.usefixtures("prefix")
def test_it_runs_without_a_permit_where_that_was_chosen(app: pgq.App, caplog: pytest.LogCaptureFixture) -> None:
    app.redis_url = AWAY
    for _ in range(3):
        with app.limit("one", key="a", on_down="run") as permit:
            assert not permit.held
            permit.throttle(1)
    assert len(said(caplog)) == 1


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "pgq" and record.levelno >= logging.WARNING]


@pytest.mark.usefixtures("prefix")
def test_it_waits_for_the_limiter_up_to_the_timeout_where_that_was_chosen(app: pgq.App) -> None:
    app.redis_url = AWAY
    began = time.monotonic()
    with pytest.raises(pgq.LimiterDown):
        app.limit("one", key="a", on_down="wait", timeout=0.5).__enter__()
    assert 0.5 <= time.monotonic() - began < 3


@pytest.mark.fault
def test_who_waits_for_the_limiter_gets_in_when_it_is_back(
    own: embedded.Valkey, app: pgq.App, caplog: pytest.LogCaptureFixture
) -> None:
    own.kill()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(lambda: app.limit("one", key="a", on_down="wait", timeout=30).__enter__())
        until(lambda: said(caplog))
        own.start()
        permit = job.result(30)
    assert permit.held
    permit.__exit__(None, None, None)


@pytest.mark.fault
def test_a_permit_that_could_not_be_given_back_hides_no_error_and_comes_back_with_the_server(
    own: embedded.Valkey, prefix: str, app: pgq.App, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        with app.limit("one", key="a", hold=30):
            os.kill(server, signal.SIGSTOP)
            raise ZeroDivisionError

    with Redis.from_url(own.url) as redis:
        server = redis.info("server")["process_id"]
        try:
            with pytest.raises(ZeroDivisionError):
                fail()
        finally:
            os.kill(server, signal.SIGCONT)
        until(lambda: not running(redis, prefix, "one:a"))
        until(lambda: not keepers())
    assert len(said(caplog)) == 1


# — the ends of loops and processes —


@pytest.mark.usefixtures("client")
def test_every_event_loop_closes_what_it_opened() -> None:
    code = """
async def main():
    async with app.limit("one", key="a", timeout=5):
        pass
    async with app.limit("one", key="a", hold=1):
        await asyncio.sleep(0.3)
async def cut_short():
    task = asyncio.create_task(app.limit("one", key="a").__aenter__())
    await asyncio.sleep(0.05)
for _ in range(3):
    asyncio.run(main())
asyncio.run(cut_short())
import gc
gc.collect()
print(len(app._doors._loops))
"""
    assert said_by(script(code)) == "0\n"


@pytest.mark.usefixtures("client")
def test_a_forked_child_has_a_way_of_its_own() -> None:
    code = """
with app.limit("one", key="parents"):
    child = os.fork()
    if not child:
        try:
            with app.limit("one", key="childs", timeout=1):
                print("child", [h.key for h in app._doors.here("").book.held.values()], flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    try:
        app.limit("one", key="parents", timeout=0).__enter__()
    except pgq.LimitExceeded:
        print("parent")
"""
    program = [sys.executable, "-c", PROLOGUE + code]  # Python 3.12 warns of a fork beside threads
    out = subprocess.run(program, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60).stdout
    assert out == "child ['one:childs']\nparent\n"


# — what is refused —


def test_without_a_url_it_says_how_to_give_one(app: pgq.App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGQ_REDIS_URL", raising=False)
    with pytest.raises(pgq.ConfigError, match="set PGQ_REDIS_URL, or redis_url of the app"):
        app.limit("one", key="a").__enter__()


def test_the_url_of_the_app_wins_over_the_environment(client: Redis, app: pgq.App, redis_url: str) -> None:
    os.environ["PGQ_REDIS_URL"] = AWAY  # the fixture puts it back
    app.redis_url = redis_url
    with app.limit("one", key="a", timeout=0):
        assert client.time()


def test_a_limit_nobody_declared_is_refused_with_those_that_are(app: pgq.App) -> None:
    with pytest.raises(pgq.InvalidOption, match="no limit 'two' is declared, this app has: one, three, rate, slow"):
        app.limit("two", key="a")
    with pytest.raises(pgq.InvalidOption, match="no limit 'two' is declared, this app has: none"):
        pgq.App().limit("two", key="a")
