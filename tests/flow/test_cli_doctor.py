"""`pgq doctor`: every check can say no, and says what to do."""

from __future__ import annotations

import json

import psycopg
import pytest
from command_line import invoke, succeed
from factory import make_queue, make_task, make_worker

from pgq import doctor
from pgq.connect import connect


def finding(dsn: str, check: str) -> tuple[str, str]:
    """Return the level and the text of one check."""
    (one,) = [finding for finding in doctor.examine(dsn) if finding.check == check]
    return one.level, one.text


def test_all_is_well_where_a_worker_serves_every_queue(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "jobs")
    make_worker(conn, queues=["jobs"])
    findings = doctor.examine(dsn)
    assert [(finding.check, finding.text) for finding in findings if finding.level != "ok"] == []
    assert len({finding.check for finding in findings}) == len(findings) == 13


def test_the_command_prints_a_line_a_check_and_exits_with_0_for_warnings(dsn: str) -> None:
    lines = succeed("doctor", "--dsn", dsn).splitlines()
    assert len(lines) == 13
    assert {line.split()[0] for line in lines} == {"ok", "warn"}


def test_the_command_exits_with_1_when_something_fails(empty_dsn: str) -> None:
    result = invoke("doctor", "--dsn", empty_dsn)
    assert (result.exit_code, result.stderr) == (1, "")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("fail")]
    assert line.split(maxsplit=2)[1:] == ["schema", "it lacks 0001_tables, functions and views: run `pgq migrate`"]


def test_the_command_prints_findings_as_json(dsn: str) -> None:
    findings = json.loads(succeed("doctor", "--json", "--dsn", dsn))
    assert {tuple(finding) for finding in findings} == {("check", "level", "text")}


def test_functions_of_another_version_are_a_warning(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("update pgq.migrations set checksum = 'another' where version = 0")
    assert finding(dsn, "schema")[0] == "warn"


def test_a_schema_of_somebody_else_fails(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create schema pgq create table pgq.theirs ()")
    level, text = finding(empty_dsn, "schema")
    assert level == "fail"
    assert "not ours" in text


@pytest.mark.parametrize(("day", "level"), [(0, "fail"), (1, "warn"), (2, "warn")])
def test_a_missing_partition_is_named(dsn: str, conn: psycopg.Connection, day: int, level: str) -> None:
    ((date,),) = conn.execute(
        "delete from pgq.partitions where starts_at::date = (now() at time zone 'UTC')::date + %s"
        " returning (starts_at at time zone 'UTC')::date::text",
        (day,),
    ).fetchall()
    assert finding(dsn, "partitions") == (level, f"none for {date}: any running worker makes them")


def test_tasks_that_lie_in_the_default_partition_are_counted(dsn: str, conn: psycopg.Connection) -> None:
    make_task(conn, due=86_400 * 365)
    assert finding(dsn, "default partition") == ("ok", "1 tasks due in the far future wait in it, as they should")
    make_task(conn, due=-86_400 * 365)
    level, text = finding(dsn, "default partition")
    assert level == "warn"
    assert text.startswith("1 tasks due soon lie in it")


def test_no_worker_is_a_warning(dsn: str, conn: psycopg.Connection) -> None:
    make_worker(conn, silent_for=40, lease=30)
    assert finding(dsn, "workers")[0] == "warn"
    assert finding(dsn, "upkeep")[0] == "ok"


def test_a_dead_worker_that_nobody_removes_fails(dsn: str, conn: psycopg.Connection) -> None:
    make_worker(conn, silent_for=600, lease=30)
    level, text = finding(dsn, "upkeep")
    assert level == "fail"
    assert text.startswith("1 dead for 10 min still listed")


def test_upkeep_that_is_late_while_workers_work_is_a_warning(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("update pgq.upkeep set ran_at = clock_timestamp()")
    conn.execute("update pgq.upkeep set ran_at = clock_timestamp() - interval '1 hour' where step = 'roll up'")
    assert finding(dsn, "upkeep")[0] == "ok"
    worker = make_worker(conn)
    assert finding(dsn, "upkeep")[0] == "ok"
    conn.execute("update pgq.workers set started_at = now() - interval '1 hour' where id = %s", (worker,))
    level, text = finding(dsn, "upkeep")
    assert level == "warn"
    assert "not done for 300 s: roll up;" in text


def test_queues_without_a_worker_are_named_unless_they_are_paused(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "served")
    make_queue(conn, "lonely")
    make_queue(conn, "resting", paused_at="2030-01-01")
    make_worker(conn, queues=["served"])
    make_worker(conn, queues=["lonely"], silent_for=60, lease=30)
    assert finding(dsn, "queues") == ("warn", "no worker serves lonely")
    assert finding(dsn, "paused") == ("warn", "resting: `pgq queues resume` lets them go on")


def test_an_old_transaction_is_named(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LONG", 0.0)
    assert finding(dsn, "transactions")[0] == "ok"
    with connect(dsn, "holder") as holder, holder.transaction():
        holder.execute("create temporary table t ()")
        pid = holder.info.backend_pid
        assert f"(pid {pid}, user" in finding(dsn, "transactions")[1]
        assert "pgq holder)" in finding(dsn, "transactions")[1]
        assert finding(dsn, "transactions")[0] == "warn"


def test_autovacuum_that_is_off_is_a_warning(dsn: str) -> None:
    with psycopg.connect(dsn, options="-c track_counts=off") as conn:
        assert doctor.autovacuum(conn).level == "warn"


@pytest.mark.parametrize(("skew", "level"), [(1.0, "ok"), (-1e-9, "warn")])
def test_clocks_that_are_apart_are_a_warning(
    dsn: str, monkeypatch: pytest.MonkeyPatch, skew: float, level: str
) -> None:
    monkeypatch.setattr(doctor, "SKEW", skew)
    assert finding(dsn, "clock")[0] == level
