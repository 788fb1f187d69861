"""pgq.restrict: a role enqueues to its queues and sees only these; nobody else notices, the planner neither."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from command_line import invoke
from factory import make_queue, make_task, make_worker
from people import dsn_of, logins
from stages import claim_values

import pgq
from pgq import statements

SECURED = ("attempts", "counts", "queues", "tasks")


@pytest.fixture
def tenant(server: str, dsn: str, conn: psycopg.Connection) -> Iterator[str]:
    """The DSN of a role that is restricted to queue `own`; there is a queue `other` too."""
    make_queue(conn, "own")
    make_queue(conn, "other")
    with logins(server, "tenant") as names:
        conn.execute("select pgq.restrict(%s, '{own}')", (names["tenant"],))
        yield dsn_of(dsn, names["tenant"])
        conn.execute("select pgq.unrestrict(%s)", (names["tenant"],))


def user(dsn: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["user"])


def test_a_restricted_role_enqueues_to_its_queues_and_to_no_other(tenant: str) -> None:
    app = pgq.App()

    @app.queue("own").task
    def mine() -> None: ...

    @app.queue("other").task
    def theirs() -> None: ...

    with psycopg.connect(tenant, autocommit=True) as conn:
        assert mine.enqueue(conn)
        assert len(mine.enqueue_many(conn, [{}, {}])) == 2
        assert conn.execute("select pgq.enqueue('own', 'mine')").fetchone()
        for enqueue in (theirs.enqueue, lambda conn: theirs.enqueue_many(conn, [{}])):
            with pytest.raises(pgq.UnknownQueue):
                enqueue(conn)
        with pytest.raises(psycopg.Error, match="unknown queue 'other'"):
            conn.execute("select pgq.enqueue('other', 'theirs')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            conn.execute("insert into pgq.tasks (queue, task, max_attempts, timeout) values ('other', 'x', 1, 1)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="enqueue_keyed"):
            mine.options(unique_key="k").enqueue(conn)
        with pytest.raises(pgq.ConfigError, match=r"cannot COPY into pgq.tasks .*: use enqueue_many"):
            mine.copy(conn, [{}])


def test_it_sees_its_own_rows_without_what_may_be_secret(tenant: str, conn: psycopg.Connection) -> None:
    for queue in ("own", "other"):
        task = make_task(conn, queue=queue, payload='{"secret": 1}')
        conn.execute("insert into pgq.attempts (task_id, queue, attempt, error) values (%s, %s, 1, 'x')", (task, queue))
        conn.execute("insert into pgq.counts (queue, minute) values (%s, now())", (queue,))
    with psycopg.connect(tenant, autocommit=True) as seen:
        for table in SECURED:
            column = "name" if table == "queues" else "queue"
            assert seen.execute(f"select {column} from pgq.{table}").fetchall() == [("own",)], table
        hide = "payload from pgq.tasks,lease from pgq.tasks,traceback from pgq.attempts,1 from pgq.queue_stats"
        hide += ",1 from pgq.dead_tasks,1 from pgq.workers,1 from pgq.unique_keys,1 from pgq.depths"
        for hidden in hide.split(","):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                seen.execute(f"select {hidden}")
        for change in ("update pgq.tasks set priority = 0", "delete from pgq.tasks", "select pgq.cancel(1)",
                       "update pgq.queues set paused_at = now()"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                seen.execute(change)


def test_queues_are_changed_by_saying_it_again_and_taken_away_for_good(tenant: str, conn: psycopg.Connection) -> None:
    conn.execute("select pgq.restrict(%s, '{other}')", (user(tenant),))
    with psycopg.connect(tenant, autocommit=True) as seen:
        assert seen.execute("select name from pgq.queues").fetchall() == [("other",)]
        conn.execute("select pgq.unrestrict(%s)", (user(tenant),))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            seen.execute("select name from pgq.queues")
    assert conn.execute("select count(*) from pg_policies where schemaname = 'pgq'").fetchone() == (0,)
    left = (
        "select bool_or(relrowsecurity or relforcerowsecurity) from pg_class where relnamespace = 'pgq'::regnamespace"
    )
    assert conn.execute(left).fetchone() == (False,)


@pytest.mark.parametrize("role", ["pgq_enqueue", "pgq_worker", "pgq_monitor", "pgq_admin"])
def test_a_member_of_another_role_is_not_restricted_but_refused(
    conn: psycopg.Connection, names: dict[str, str], role: str
) -> None:
    with pytest.raises(psycopg.Error, match=f"would see more as a member of .*{role}"):
        conn.execute("select pgq.restrict(%s, '{own}')", (names[role],))


def test_the_doctor_finds_a_restricted_role_that_came_to_more(dsn: str, tenant: str, conn: psycopg.Connection) -> None:
    assert "restricted to queues" not in invoke("doctor", "--dsn", dsn).output
    conn.execute(f"grant pgq_monitor to {user(tenant)}")
    assert f"a member of more: {user(tenant)} of pgq_monitor" in invoke("doctor", "--dsn", dsn).output


def test_a_claim_is_planned_as_before_while_somebody_is_restricted(
    conn: psycopg.Connection, doors: dict[str, str], server: str
) -> None:
    make_task(conn)
    values = claim_values(make_worker(conn))

    def plan() -> Any:
        with psycopg.connect(doors["pgq_worker"], autocommit=True) as worker:
            text = f"explain (format json, costs off) {statements.query('claim')}"
            return json.dumps(worker.execute(text, values).fetchone())

    before = plan()
    with logins(server, "tenant") as names:
        conn.execute("select pgq.restrict(%s, '{jobs}')", (names["tenant"],))
        forced = "select bool_and(relforcerowsecurity) from pg_class where oid::regclass::text = any(%s)"
        assert conn.execute(forced, ([f"pgq.{table}" for table in SECURED],)).fetchone() == (True,)
        assert plan() == before
        assert "tasks_claim" in before or "_queue_priority_scheduled_at_id_idx" in before
        conn.execute("select pgq.unrestrict(%s)", (names["tenant"],))
