"""An application and a worker that are only members of their roles do all that they are for."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cli_app
import psycopg
import pytest
from command_line import invoke, succeed
from factory import make_task
from pooler import WANTED
from psycopg.conninfo import make_conninfo
from serving import eventually, listening, serving, until_status

import pgq
from pgq.alerts.deliver import attach
from pgq.alerts.watch import watch
from pgq.worker import Worker

TODAY = datetime.now(UTC).date()


def shop() -> tuple[pgq.App, list[str], Any]:
    """Return an app with a queue, a limit of keys and a task, and what ran."""
    app, ran = pgq.App(), []
    app.key_limit("customer", concurrency=2)
    orders = app.queue("orders", max_attempts=2, backoff=pgq.Fixed(0.05))
    swift = app.queue("swift", retention=0)

    @orders.task(limit_key="customer:{customer}")
    async def bill(customer: str) -> None:
        ran.append(customer)

    @orders.task
    async def fail() -> None:
        raise ValueError("no luck")

    @swift.task
    async def ping(n: int) -> None:
        ran.append(f"ping {n}")

    return app, ran, (bill, fail, ping)


def leave_house_to_be_kept(conn: psycopg.Connection) -> tuple[str, str, str]:
    """Let a day be due to go, another be over and one ahead be missing; returns their names in this order."""
    gone, old, ahead = (f"tasks_{TODAY + timedelta(days=days):%Y%m%d}" for days in (-30, -2, 3))
    for days in (-30, -2):
        conn.execute("select pgq.make_partition(%s)", (TODAY + timedelta(days=days),))
    conn.execute("update pgq.partitions set sealed_at = now() - interval '20 days' where name = %s", (gone,))
    conn.execute("select pgq.drop_partition(%s)", (ahead,))
    return gone, old, ahead


def enqueue_in_every_way(shopper: psycopg.Connection, bill: Any, fail: Any, ping: Any) -> None:
    for customer in ("ada", "bob"):
        bill.enqueue(shopper, customer=customer)
    ping.enqueue_many(shopper, [{"n": 1}, {"n": 2}])
    assert ping.copy(shopper, [{"n": 3}]) == 1
    fail.enqueue(shopper)
    first = bill.options(unique_key="one").enqueue(shopper, customer="cid")
    with pytest.raises(pgq.UniqueKeyTaken), shopper.transaction():
        bill.options(unique_key="one").enqueue(shopper, customer="dan")
    assert bill.options(unique_key="one", on_conflict="skip").enqueue(shopper, customer="dan") is None
    assert bill.options(unique_key="one", on_conflict="return_existing").enqueue(shopper, customer="dan") == first
    assert bill.options(unique_key="one", on_conflict="replace").enqueue(shopper, customer="eva") == first
    shopper.execute("select pgq.enqueue('swift', %s, '{\"n\": 4}')", (ping.function.name,))


async def test_an_application_enqueues_and_a_worker_works_it_off_and_keeps_house(
    config: pgq.Config, conn: psycopg.Connection, aconn: psycopg.AsyncConnection, doors: dict[str, str]
) -> None:
    app, ran, (bill, fail, ping) = shop()
    with psycopg.connect(doors["pgq_admin"], autocommit=True) as admin:
        app.declare(admin)
    gone, old, ahead = leave_house_to_be_kept(conn)
    with psycopg.connect(doors["pgq_enqueue"]) as shopper:
        enqueue_in_every_way(shopper, bill, fail, ping)
    names = conn.execute(
        "select distinct task from pgq.tasks where queue = 'swift' and payload ->> 'n' = '3'"
    ).fetchone()
    conn.execute("update pgq.tasks set task = %s where task = 'shop.ping'", names)

    async def kept() -> bool:
        query = (
            "select to_regclass('pgq.' || %s) is null and to_regclass('pgq.' || %s) is not null"
            " and exists (select from pgq.partitions where name = %s and sealed_at is not null)"
            " and exists (select from pgq.counts where merged)"
        )
        return (await (await aconn.execute(query, (gone, ahead, old))).fetchone()) == (True,)

    async with serving(app, replace(config, dsn=doors["pgq_worker"])) as worker:

        async def drained() -> bool:
            left = await aconn.execute("select count(*) from pgq.tasks where status in ('pending', 'processing')")
            return await left.fetchone() == (0,)

        await eventually(drained, 30)
        await eventually(kept, 30)
        assert worker.doorbell.works or WANTED
    assert sorted(ran) == ["ada", "bob", "eva", "ping 1", "ping 2", "ping 3", "ping 4"]
    ended = conn.execute("select status::text, count(*) from pgq.tasks group by 1 order by 1").fetchall()
    assert ended == [("completed", 3), ("dead", 1)]
    owners = conn.execute(
        "select distinct relowner = (select relowner from pg_class where oid = 'pgq.tasks'::regclass)"
        " from pg_class where relnamespace = 'pgq'::regnamespace"
    ).fetchall()
    assert owners == [(True,)]


async def test_a_worker_that_may_not_declare_starts_only_on_what_is_declared(
    config: pgq.Config, aconn: psycopg.AsyncConnection, doors: dict[str, str]
) -> None:
    app, _, _ = shop()
    own = replace(config, dsn=doors["pgq_worker"])
    with pytest.raises(pgq.ConfigError, match="limit 'customer', queue 'orders', queue 'swift': not in"):
        await pgq.worker.Worker(app, own).run(burst=True)
    await app.adeclare(aconn)
    await pgq.worker.Worker(app, own).run(burst=True)


async def test_a_worker_of_alerts_looks_and_delivers_under_its_role(
    config: pgq.Config, aconn: psycopg.AsyncConnection, conn: psycopg.Connection, doors: dict[str, str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told = tmp_path / "told"
    program = tmp_path / "tell"
    program.write_text(f"#!/bin/sh\ncat >> {told}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PGQ_ALERT_COMMANDS", str(program))
    monkeypatch.setattr(cli_app, "app", pgq.App())  # one that no other command of this process has added to
    cli_app.app.queue("jobs")
    app = pgq.App("cli_app:app")
    app.queue("jobs")
    attach(app, doors["pgq_worker"])
    own = replace(config, dsn=doors["pgq_worker"])
    with pytest.raises(pgq.ConfigError, match="`pgq queues sync --alerts` as one of pgq_admin"):
        await Worker(app, own).run(burst=True)
    succeed("queues", "sync", "cli_app:app", "--alerts", "--dsn", doors["pgq_admin"])
    succeed("alerts", "add-target", "ops", "--command", json.dumps([str(program)]), "--dsn", doors["pgq_admin"])
    make_task(conn, status="dead")
    served = pgq.App("cli_app:app")
    attach(served, doors["pgq_worker"])
    async with serving(served, own, beside={"alerts": watch}):

        async def delivered() -> bool:
            rows = await aconn.execute("select count(*) from pgq.alert_notes where sent_at is not null")
            sent = await rows.fetchone() != (0,)
            return sent and "dead letters" in told.read_text()  # of several rules, each in its own note

        await eventually(delivered, 30)


async def test_what_anybody_notifies_ends_no_run_and_no_worker(
    config: pgq.Config, aconn: psycopg.AsyncConnection, doors: dict[str, str]
) -> None:
    app, begun, go_on = pgq.App(), asyncio.Event(), asyncio.Event()

    @app.queue("orders").task
    async def slow() -> None:
        begun.set()
        await go_on.wait()

    await app.adeclare(aconn)
    task_id = await slow.aenqueue(aconn)
    async with (
        serving(app, config) as worker,
        await psycopg.AsyncConnection.connect(doors["nobody"], autocommit=True) as stranger,
    ):
        await listening(worker)
        await begun.wait()
        for note in (
            f"cancel:{task_id}", f"cancel:{task_id}:", f"cancel:{task_id}:{'0' * 64}", "cancel:²:x", "cancel::",
            "closed:x:orders", "closed", "closed:nan:orders", "settings:x", "what", "", "ring:no such queue",
        ):  # fmt: skip
            await stranger.execute("select pg_notify('pgq', %s)", (note,))
        heard = await stranger.execute("select pg_notify('pgq', 'ring:orders')")
        assert heard.rowcount == 1
        await until_status(aconn, task_id, "processing")
        second = await slow.aenqueue(aconn)  # is claimed after all those notes were heard
        await until_status(aconn, second, "processing")
        assert not worker.runner.running[task_id].context.cancelled
        go_on.set()
        await until_status(aconn, task_id, "completed")


def test_each_command_does_what_its_users_role_may_and_says_so_where_it_may_not(
    conn: psycopg.Connection, doors: dict[str, str]
) -> None:
    app, _, (bill, _, _) = shop()
    app.declare(conn)
    refused: dict[str, list[str]] = {}
    for role, dsn in doors.items():
        for name, words in COMMANDS.items():
            task = bill.enqueue(conn, customer="ada")
            make_task(conn, queue="orders", status="dead")
            before = state(conn)
            result = invoke(*(word.replace("{task}", str(task)) for word in words.split()), "--dsn", dsn)
            if "permission denied" in result.stderr or "may not" in result.stderr:
                assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.stderr
                assert state(conn) == before
                refused.setdefault(role, []).append(name)
            else:
                assert result.exit_code == 0, (role, name, result.output)
    changes = set(CHANGES)
    assert {role: set(names) for role, names in refused.items()} == {
        "nobody": set(COMMANDS),
        "pgq_enqueue": set(COMMANDS) - {"enqueue", "queues list"},
        "pgq_worker": {*changes, "dead list"},
        "pgq_monitor": {*changes, "enqueue", "dead list", "tasks list", "tasks show"},
    }


CHANGES = {
    "cancel": "tasks cancel {task}",
    "retry": "tasks retry {task}",
    "pause": "queues pause orders",
    "resume": "queues resume orders",
    "queues set": "queues set orders --timeout 61",
    "limits set": "limits set customer --concurrency 3",
    "replay": "dead replay --all",
    "purge": "dead purge --all --yes",
}
COMMANDS = {
    **CHANGES,
    "audit": "audit",
    "dead list": "dead list",
    "enqueue": "enqueue orders work {}",
    "explain": "tasks explain {task}",
    "limits list": "limits list",
    "queues list": "queues list",
    "sql": "sql --run backlog",
    "stats": "stats",
    "tasks list": "tasks list",
    "tasks show": "tasks show {task}",
    "workers": "workers",
}


def state(conn: psycopg.Connection) -> Any:
    """Return what no refused command may change."""
    query = (
        "select (select md5(string_agg(t::text, '|' order by t.id)) from pgq.tasks as t),"
        " (select md5(string_agg(q::text, '|' order by q.name)) from pgq.queues as q),"
        " (select md5(string_agg(l::text, '|' order by l.name)) from pgq.limits as l), (select count(*) from pgq.audit)"
    )
    return conn.execute(query).fetchone()


def test_the_doctor_names_a_role_that_lacks(conn: psycopg.Connection, dsn: str) -> None:
    assert "they lack" not in invoke("doctor", "--dsn", dsn).output
    conn.execute("revoke update (status) on pgq.tasks from pgq_worker")
    result = invoke("doctor", "--dsn", make_conninfo(dsn))
    assert "they lack 1 rights: run `pgq migrate` as the schema's owner" in result.output
    succeed("migrate", "--dsn", dsn)
    assert "they lack" not in invoke("doctor", "--dsn", dsn).output
