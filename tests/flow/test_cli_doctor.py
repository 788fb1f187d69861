"""`pgq doctor`: every check can say no, and says what to do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from command_line import invoke, succeed
from factory import insert, make_queue, make_task, make_worker
from valkeys import Server

from pgq import acl, doctor
from pgq.connect import connect
from pgq.doctor import redis, schema, server
from pgq.limiter import connect_redis

CHECKS = 27  # without Redis


def finding(dsn: str, check: str, redis_url: str = "") -> tuple[str, str]:
    """Return the level and the text of one check."""
    (one,) = [finding for finding in doctor.examine(dsn, redis_url) if finding.check == check]
    return one.level, one.text


def test_all_is_well_where_a_worker_serves_every_queue(direct_dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "jobs")
    make_worker(conn, queues=["jobs"])
    findings = doctor.examine(direct_dsn)
    bad = [(finding.check, finding.text) for finding in findings if finding.level != "ok"]
    assert [one for one in bad if one[0] != "durability"] == []  # the server of the tests may forget
    assert len({finding.check for finding in findings}) == len(findings) == CHECKS


def test_the_command_prints_a_line_a_check_and_exits_with_0_for_warnings(dsn: str) -> None:
    lines = succeed("doctor", "--dsn", dsn).splitlines()
    assert len(lines) == CHECKS
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
    assert finding(dsn, "dead workers")[0] == "ok"


def test_a_dead_worker_that_nobody_removes_fails(dsn: str, conn: psycopg.Connection) -> None:
    make_worker(conn, silent_for=600, lease=30)
    level, text = finding(dsn, "dead workers")
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
    assert "not done for 15 min: roll up;" in text


def test_queues_without_a_worker_are_named_unless_they_are_paused(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "served")
    make_queue(conn, "lonely")
    make_queue(conn, "resting", paused_at="2030-01-01")
    make_worker(conn, queues=["served"])
    make_worker(conn, queues=["lonely"], silent_for=60, lease=30)
    assert finding(dsn, "queues") == ("warn", "no worker serves lonely")
    assert finding(dsn, "paused") == ("warn", "resting: `pgq queues resume` lets them go on")


def test_an_old_transaction_is_named(direct_dsn: str, conn: psycopg.Connection) -> None:
    assert finding(direct_dsn, "transactions")[0] == "ok"
    with connect(direct_dsn, "holder") as holder, holder.transaction():
        holder.execute("create temporary table t ()")
        query = "select status, message from pgq.health_of_server(0) where name = 'transactions'"
        ((status, message),) = conn.execute(query).fetchall()
        pid = holder.info.backend_pid
    assert status == "warn"
    assert f"a transaction of pid {pid}, user" in message
    assert "pgq holder, is open for 0" in message


def test_autovacuum_that_is_off_fails(direct_dsn: str) -> None:
    assert finding(f"{direct_dsn} options='-c track_counts=off'", "autovacuum")[0] == "fail"


def test_an_index_that_a_day_lacks_is_named(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("drop index pgq.tasks_dead")
    assert finding(dsn, "indexes")[1].startswith("pgq.tasks lacks tasks_dead:")
    conn.execute("create index tasks_dead on only pgq.tasks (queue, completed_at) where status in ('dead', 'failed')")
    level, text = finding(dsn, "indexes")
    assert level == "fail"
    assert text.startswith("missing or not valid: tasks_dead of tasks_")


def test_without_a_role_the_doctor_says_how_to_make_it(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finding(dsn, "roles") == ("ok", "all are there")
    monkeypatch.setattr(schema, "ROLES", (*schema.ROLES, "pgq_nobody"))
    level, text = finding(dsn, "roles")
    assert level == "warn"
    assert text.startswith(
        "there is no role pgq_nobody: let an administrator run `create role pgq_nobody nologin`, then"
    )


@pytest.mark.parametrize(("skew", "level"), [(1.0, "ok"), (-1e-9, "warn")])
def test_clocks_that_are_apart_are_a_warning(
    dsn: str, monkeypatch: pytest.MonkeyPatch, skew: float, level: str
) -> None:
    monkeypatch.setattr(server, "SKEW", skew)
    assert finding(dsn, "clock")[0] == level


def test_without_limits_redis_is_not_missed(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "mail")
    assert finding(dsn, "redis") == ("ok", "no URL is given, and nothing is limited")


def test_limits_without_a_redis_url_are_a_warning_that_names_them(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "b", rate_max=1, rate_per=1)
    make_queue(conn, "a", concurrency=1)
    make_queue(conn, "free")
    insert(conn, "limits", {"name": "customer", "concurrency": 1})
    level, text = finding(dsn, "redis")
    assert level == "warn"
    assert "limits need Redis (queue a, queue b, limit customer): set PGQ_REDIS_URL" in text


def test_a_redis_that_answers_is_named_with_its_version(dsn: str, conn: psycopg.Connection, redis_url: str) -> None:
    make_queue(conn, "mail", concurrency=1)
    findings = {found.check: found for found in doctor.examine(dsn, redis_url)}
    assert len(findings) == CHECKS + 3
    seen = [findings[check] for check in ("redis", "redis memory", "redis clock", "redis rights")]
    assert [found.level for found in seen] == ["ok"] * 4
    with contextlib.closing(connect_redis(redis_url)) as client:
        node = client.info("server")
    assert node.get("valkey_version", node["redis_version"]) in seen[0].text


def test_the_command_looks_at_the_redis_of_the_environment(dsn: str, redis_url: str) -> None:
    findings = json.loads(succeed("doctor", "--json", "--dsn", dsn, env={"PGQ_REDIS_URL": redis_url}))
    assert "answers" in next(found["text"] for found in findings if found["check"] == "redis")


@pytest.mark.parametrize(
    "url",
    [
        "redis://ada:geheim@127.0.0.1:1/0",
        "redis+cluster://ada:geheim@127.0.0.1:1",
        "redis+sentinel://ada:geheim@127.0.0.1:1/main",
        "redis://ada:geheim/x@127.0.0.1/0",
        "redis://ada:geheim#x@127.0.0.1/0",
        "redis://ada:geheim@127.0.0.1:port/0",
        "http://ada:geheim@127.0.0.1",
    ],
)
def test_a_redis_that_cannot_be_reached_fails_without_a_word_of_its_password(dsn: str, url: str) -> None:
    result = invoke("doctor", "--dsn", dsn, env={"PGQ_REDIS_URL": url})
    assert (result.exit_code, result.stderr) == (1, "")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("fail")]
    assert line.split()[1] == "redis"
    assert "geheim" not in result.stdout


def test_a_wrong_password_of_redis_fails_without_it(dsn: str, redis_url: str) -> None:
    level, text = finding(dsn, "redis", _with_password(redis_url, "geheim"))
    assert level == "fail"
    assert text.startswith("not to be had: ")
    assert "geheim" not in text


def _with_password(url: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://ada:{password}@{rest}"


@contextlib.contextmanager
def configured(redis_url: str, **settings: object) -> Iterator[None]:
    """Change settings of the server for a while."""
    with contextlib.closing(connect_redis(redis_url)) as client:
        before = {name: client.config_get(name)[name] for name in settings}
        for name, value in settings.items():
            client.config_set(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                client.config_set(name, value)


def test_a_redis_that_may_evict_limits_is_a_warning(dsn: str, redis_url: str, redis_admin_url: str) -> None:
    with configured(redis_admin_url, **{"maxmemory-policy": "allkeys-lru"}):
        assert finding(dsn, "redis memory", redis_url)[0] == "ok"  # its memory has no bound
        with configured(redis_admin_url, maxmemory="500mb"):
            level, text = finding(dsn, "redis memory", redis_url)
    assert level == "warn"
    assert "its maxmemory-policy is allkeys-lru" in text


@pytest.mark.parametrize(("skew", "level"), [(1.0, "ok"), (-1e-9, "warn")])
def test_a_redis_whose_clock_is_apart_is_a_warning(
    dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, skew: float, level: str
) -> None:
    monkeypatch.setattr(redis, "SKEW", skew)
    assert finding(dsn, "redis clock", redis_url)[0] == level


def test_the_clock_that_is_furthest_from_the_database_counts() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    apart = [now + timedelta(seconds=seconds) for seconds in (-0.5, 3.5, 0)]
    level_and_text = redis.redis_clock(now, apart, now + timedelta(seconds=1))
    assert (level_and_text.level, "2.5 s apart" in level_and_text.text) == ("warn", True)


def test_a_redis_that_is_too_old_fails() -> None:
    found = redis.redis_version([{"redis_version": "7.2.4"}, {"redis_version": "4.0.14"}])
    assert (found.level, found.text) == ("fail", "Redis 4.0.14: limits need Redis 5 or newer")


def test_a_redis_user_that_lacks_a_command_or_our_keys_is_named(dsn: str, tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    try:
        url = f"redis://pgq:secret@127.0.0.1:{server.port}"
        words = acl.line("pgq").replace("PASSWORD", "secret").split()[1:]
        for change, said in (
            (["-zadd"], "this user may not run zadd on pgq:*: see `pgq limits acl`"),
            (["resetkeys", "~other:*"], "see `pgq limits acl`"),
            (["-evalsha"], "see `pgq limits acl`"),
            (["-info"], "this user may not run info on pgq:*: see `pgq limits acl`"),
        ):
            with server.client() as client:
                client.execute_command("ACL", "SETUSER", words[0], "reset", *words[1:], *change)
            level, text = finding(dsn, "redis rights", url)
            assert level == "fail"
            assert said in text
    finally:
        server.kill()
