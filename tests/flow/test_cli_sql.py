"""`pgq sql`: questions are answered, and nothing else happens."""

# ruff: noqa: E501, ISC004 - long lists of questions

from __future__ import annotations

import json
import random
import time
from typing import Any

import psycopg
import pytest
from command_line import document, invoke, refuse, succeed
from factory import make_queue, make_task, make_tasks
from hostile import CALLS, WRITES, statements
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql as composed

from pgq import readonly
from pgq import statements as files
from pgq.readonly import Refused, ask, check

EVIL = """
create table public.secrets (word text);
insert into public.secrets values ('sesame');
create function public.evil() returns int language sql volatile as 'delete from public.secrets returning 1';
create function public.evil_read() returns setof text language sql stable as 'select word from public.secrets';
create procedure public.evil_proc() language sql as 'delete from public.secrets';
create type public.evil_type as enum ('1');
"""
SLACK = 2.0  # seconds: other tests run beside this one


@pytest.fixture
def shop(conn: psycopg.Connection) -> psycopg.Connection:
    """Return a connection to a database with tasks, and somebody's own things beside."""
    make_tasks(conn, 3, payload='{"password": "sesame"}')
    make_task(conn, status="dead", last_error="E: no", unique_key="a", traceback="at x")
    conn.execute(EVIL)
    return conn


def state(conn: psycopg.Connection) -> list[Any]:
    """Return what must not change: every row of every table, sequences, roles, settings, locks, relations."""
    relations = conn.execute(
        "select c.relkind, n.nspname, c.relname from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace"
        " where n.nspname in ('pgq', 'public') and c.relkind in ('r', 'S') order by 1, 2, 3"
    ).fetchall()
    rows: list[Any] = []
    for kind, *name in relations:
        row = "t" if kind == "r" else "last_value, is_called"
        query = composed.SQL(
            f"select md5(coalesce(string_agg(({row})::text, '|' order by ({row})::text), '')) from {{}} as t"
        )
        rows.append((name, conn.execute(query.format(composed.Identifier(*name))).fetchone()))
    others = (
        "select count(*) from pg_class", "select count(*) from pg_proc", "select count(*) from pg_largeobject_metadata",
        "select md5(string_agg(r::text, '|' order by rolname)) from pg_roles as r",
        "select md5(string_agg(coalesce(relacl::text, ''), '|' order by oid)) from pg_class",
        "select count(*) from pg_locks where locktype = 'advisory'", "select current_user::text, current_setting('role')",
        "select count(*) from pg_listening_channels()", "select count(*) from pg_prepared_xacts",
        "select current_setting('search_path'), current_setting('transaction_read_only')",
    )  # fmt: skip
    return [*rows, *(conn.execute(query.encode()).fetchall() for query in others)]


def attempt(conn: psycopg.Connection, text: str, timeout: float = 0.3) -> str:
    """Ask, whatever it is; returns what came of it. Anything but an answer, a refusal or the database's no fails."""
    began = time.monotonic()
    try:
        ask(conn, text, timeout=timeout, limit=5)
    except Refused:
        outcome = "refused"
    except psycopg.Error:
        outcome = "the database said no"
    else:
        outcome = "answered"
    assert time.monotonic() - began < timeout + SLACK, text
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE, text
    return outcome


@pytest.mark.usefixtures("shop")
def test_a_question_is_answered_as_a_table_csv_or_json(dsn: str) -> None:
    question = "select queue, pending, paused from pgq.queue_stats"
    assert succeed("sql", question, "--dsn", dsn) == "queue  pending  paused\njobs         3  no\n"
    assert succeed("sql", question, "--csv", "--dsn", dsn) == "queue,pending,paused\njobs,3,False\n"
    assert document("sql", question, "--dsn", dsn) == [{"queue": "jobs", "pending": 3, "paused": False}]
    assert succeed("sql", "-", "--dsn", dsn, stdin="select 1 as one;\n") == "one\n  1\n"
    assert succeed("sql", "select id from pgq.workers", "--dsn", dsn) == "No rows.\n"


@pytest.mark.usefixtures("shop")
def test_an_answer_that_is_cut_says_so(dsn: str) -> None:
    result = invoke("sql", "select id from pgq.tasks", "--limit", 2, "--csv", "--dsn", dsn)
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 3)
    assert result.stderr == "pgq: there are more than 2 rows: see --limit\n"
    assert succeed("sql", "select id from pgq.tasks", "--limit", 4, "--csv", "--dsn", dsn).count("\n") == 5


@pytest.mark.usefixtures("shop")
def test_payloads_are_refused_to_the_monitor_with_a_sentence(dsn: str) -> None:
    for question in ("select * from pgq.tasks", "select payload from tasks", "select unique_key from pgq.tasks",
                     "select payload from pgq.dead_tasks", "select traceback from pgq.dead_tasks",
                     "select key from pgq.unique_keys", "select traceback from pgq.attempts"):  # fmt: skip
        said = refuse("sql", question, "--dsn", dsn)
        assert said.startswith("pgq: pgq_monitor may not read all of that (permission denied for ")
    assert "E: no" in succeed("sql", "select id, last_error from pgq.dead_tasks", "--dsn", dsn)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("delete from pgq.tasks", "only a query may be asked, not DELETE"),
        ("select 1; drop table pgq.tasks", "only one statement may be asked"),
        ("with a as (delete from pgq.tasks returning 1) select 1", "DELETE cannot be used here: a question only reads"),
        ("select pg_sleep(1)", "the function pg_sleep cannot be used here"),
        ("select pgq.pause('jobs')", "the function pause cannot be used here"),
        ("select * from public.secrets", "public.secrets is outside of pgq"),
        ("select * from secrets", "secrets is no public table or view of pgq"),
        ("select * from pg_authid", "pg_authid is no public table or view of pgq"),
        ("select id from pgq.tasks for update", "UPDATE cannot be used here: a question only reads"),
        ("select /* a */ 1", "block comments cannot be used here"),
        ("select $$a$$", "dollar quotes and parameters cannot be used here"),
        ("select 'a", 'a quote is not closed: "\'a"'),
        ("select from where", "it cannot be read as a query: "),
        ("", "nothing is asked"),
    ],
)
def test_a_refusal_names_what_it_refuses(dsn: str, question: str, said: str) -> None:
    assert refuse("sql", question, "--dsn", dsn).startswith(f"pgq: {said}")


def test_a_question_that_takes_too_long_is_stopped(dsn: str) -> None:
    began = time.monotonic()
    question = "select count(*) from generate_series(1, 100000000) as a, generate_series(1, 1000) as b"
    said = refuse("sql", question, "--timeout", 0.3, "--dsn", dsn)
    assert said == "pgq: it took longer than 0.3 s and was stopped\n"
    assert time.monotonic() - began < 0.3 + 2 * SLACK


def test_neither_or_both_of_a_question_and_a_name_is_wrong_usage(dsn: str) -> None:
    for words in ((), ("select 1", "--run", "health")):
        assert "Give a question, or --run NAME" in refuse("sql", *words, "--dsn", dsn, code=2)
    assert "no question is called 'nope'" in refuse("sql", "--run", "nope", "--dsn", dsn)


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("file", files.files("questions"), ids=lambda file: file.stem)
def test_every_ready_made_question_can_be_asked(dsn: str, file: Any) -> None:
    head = file.read_text("utf-8").splitlines()[0]
    assert head.startswith(f"-- {file.stem}: ")
    assert head.endswith(".")
    assert isinstance(document("sql", "--run", file.stem, "--dsn", dsn), list)
    assert file.stem in succeed("sql", "--list")
    assert file.stem in {row["name"] for row in document("sql", "--list")}


@pytest.mark.parametrize(
    "question",
    [
        "select t.queue, count(*) from pgq.tasks as t group by 1 having count(*) > 1 order by 2 desc nulls last limit 3",
        "with a as (select id from tasks where status = 'pending') select count(*) from a where id in (1, 2)",
        "select queue, date_trunc('hour', minute) as hour, sum(completed) over (partition by queue) from pgq.minutes",
        "select extract(epoch from now() - created_at)::int, created_at at time zone 'UTC' from pgq.tasks",
        "select unnest(queues) as queue, sum(concurrency) from pgq.workers group by 1 union select 'a', 1 order by 1",
        "select pgq.explain(id), pgq.spoken(now()) from pgq.tasks; ",
        "select q.name, m.* from pgq.queues as q left join lateral (select minute from pgq.minutes as m"
        " where m.queue = q.name limit 1) as m on true where q.name ~ '^[a-z]+$' and q.name not like 'x%'",
        "select percentile_cont(0.5) within group (order by run_p50) filter (where run_p50 is not null) from pgq.minutes",
        "select (array[1, 2])[1], row(1, 'a'), 'it''s', \"name\" from \"pgq\".\"queues\" -- the end",
        "select substring('abc' from 2 for 1), position('b' in 'abc'), trim(both ' ' from ' a '), interval '1 day'",
        "select case when paused then 1 else 0 end, coalesce(oldest_due_age, 0)::numeric(10, 2) from queue_stats",
        "values (1, 'a'), (2, 'b')",
    ],
)
def test_ordinary_questions_pass(shop: psycopg.Connection, question: str) -> None:
    assert ask(shop, question).columns


def test_no_hostile_statement_changes_anything_or_outlives_its_time(shop: psycopg.Connection, dsn: str) -> None:
    before = state(shop)
    told = {"refused": 0, "the database said no": 0, "answered": 0}
    chosen = sorted(set(statements()))
    assert len(chosen) >= 2000
    with psycopg.connect(dsn, autocommit=True) as asking:
        for text in chosen:
            told[attempt(asking, text)] += 1
        assert state(shop) == before
        assert asking.execute("select current_setting('role'), current_setting('search_path')").fetchone()[0] == "none"
    assert told["answered"] == 0, told
    assert told["refused"] > 0.99 * len(chosen), told


def test_what_changes_something_is_stopped_by_the_second_and_third_lock_too(
    shop: psycopg.Connection, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(shop)
    monkeypatch.setattr(readonly, "check", lambda text: text)
    harmless_to_others = ("nextval", "pg_advisory", "pg_try", "lo_", "pg_notify", "pgq.ring")
    with psycopg.connect(dsn, autocommit=True) as asking:
        for write in WRITES:
            attempt(asking, write)
        for call in (call for call in CALLS if not call.startswith(("pg_terminate", *harmless_to_others))):
            attempt(asking, f"select {call}")
            attempt(asking, f"select 1; select {call}")
            attempt(asking, f"select 1; commit; select {call}")
    assert state(shop) == before


WORDS = [
    "select", "1", "*", "from", "pgq.tasks", "pgq.queues", "where", "(", ")", ",", ";", "--", "\n", "'", "''", '"', "as", "a",
    "with", "union", "all", "delete from pgq.tasks", "pg_sleep(9)", "pgq.pause('jobs')", "public.secrets", "pg_authid",
    "for update", "into x", "values", "::", "$$", "/*", "*/", "E'", "U&'", "\\", "limit 1", "set role postgres", "commit", ".",
    "pgq", "nextval('pgq.task_id')", "returning 1", "case", "end", "exists", "lateral", "é", "\0", "{", "returning", "[", "]",
]  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.sampled_from(WORDS), max_size=14), glue=st.sampled_from(["", " ", "\n"]))
def test_no_heap_of_words_gets_through(words: list[str], glue: str) -> None:
    text = glue.join(["select 1 ", *words])
    try:
        passed = check(text)
    except Refused:
        return
    lowered = passed.lower()
    assert passed.count(";") == 0 or "'" in passed or '"' in passed or "--" in passed
    for call in ("pg_sleep(9)", "pgq.pause('jobs')", "nextval('pgq.task_id')"):
        outside = "".join(part for place, part in enumerate(lowered.split("'")) if place % 2 == 0)
        assert call.split("'")[0] not in outside or '"' in text or "--" in text, text


def test_random_edits_of_questions_change_nothing(shop: psycopg.Connection, dsn: str) -> None:
    before, dice = state(shop), random.Random(7)
    questions = [file.read_text("utf-8") for file in files.files("questions")]
    with psycopg.connect(dsn, autocommit=True) as asking:
        for _ in range(500):
            text = dice.choice(questions)
            for _ in range(dice.randint(1, 4)):
                at = dice.randrange(len(text))
                text = text[:at] + dice.choice(WORDS) + text[at + dice.choice((0, 0, 1, 5)) :]
            attempt(asking, text, timeout=1.0)
    assert state(shop) == before


def test_without_the_role_two_locks_hold(shop: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(shop, "select 1").as_monitor
    monkeypatch.setattr(readonly, "ROLE", "pgq_nobody")
    answer = ask(shop, "select payload from pgq.tasks limit 1")
    assert (answer.as_monitor, answer.rows) == (False, [({"password": "sesame"},)])
    monkeypatch.setattr(readonly, "check", lambda text: text)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        ask(shop, "select pgq.pause('jobs')")


def test_the_public_names_are_those_of_the_schema(conn: psycopg.Connection) -> None:
    there = conn.execute(
        "select relname, relkind from pg_class where relnamespace = 'pgq'::regnamespace"
        " and relkind in ('r', 'p', 'v') and not relispartition"
    ).fetchall()
    assert {name for name, kind in there if kind == "v"} == readonly.VIEWS
    assert {name for name, kind in there if kind != "v"} == readonly.TABLES


def test_names_in_json_are_as_they_are(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn, "jobs")
    printed = succeed("sql", "select name, 1.5 as x, now() - now() as y from queues", "--json", "--dsn", dsn)
    assert json.loads(printed) == [{"name": "jobs", "x": "1.5", "y": "0:00:00"}]
