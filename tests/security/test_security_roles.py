"""Each role may what it is for and nothing else: every statement, function, table, column, against what stands here."""

from __future__ import annotations

from contextlib import suppress

import psycopg
import pytest
from people import NOBODY, ROLES, may

from pgq import statements

E, W, M, A = ROLES
EVERYBODY = {NOBODY, *ROLES}

# Statements of sql/queries by who may run them.
MAY_RUN = [
    (
        {W},
        """
        add_timings alert_sent bring_back_heartbeats begin claim close_minutes complete complete_in forget heartbeat
        merge_timings park prune_alerts prune_attempts prune_audit prune_counts prune_depths prune_usage prune_workers
        recover register roll_up sample_queues settle unregister upkeep_turn write_usage
    """,
    ),
    (
        {A},
        """
        cancel_task count_in_audit declare declare_limit list_dead lock_limit lock_queue pause_queue
        record remove_alert_rule remove_alert_target replay_dead resume_queue retry_task
        set_alert_rule set_alert_target set_limit set_queue
    """,
    ),
    (
        {W, A},
        """
        alert_found alert_note alert_ran alert_tell alert_turn dash_attempts dash_task key_holders
        list_alert_targets list_attempts list_tasks purge_dead show_task strays glance held
    """,
    ),
    (
        {E, W, A},
        """
        enqueue enqueue_many enqueue_unique
    """,
    ),
    (
        {W, M, A},
        """
        alert_untold autoscale check_queues count_dead crowd dash_dead dash_ended dash_errors dash_health
        dash_limits dash_minutes dash_needs dash_partitions dash_pulse dash_queues dash_recent dash_running
        dash_stuck dash_waiting dash_workers explain_task health last_id list_alert_rules list_alerts
        list_audit list_died list_limits list_running list_stats list_workers metric_limits metric_needs
        metric_queues metric_totals metric_workers next_due oldest_processing upkeep_due
        pick_dead
    """,
    ),
    (
        {E, W, M, A},
        """
        copy_defaults limit_settings limited_queues list_queues queue_names settings undeclared
    """,
    ),
    (
        EVERYBODY,
        """
        clock close_queue doze may_declare rouse
    """,
    ),
]

# Functions by name; whatever is not here only the owner of the schema may call.
MAY_CALL = [
    (
        {E, W, A},
        """
        enqueue enqueue_many enqueue_keyed ring check_payload check_numbers due_time check_limit_key
        check_limit_keys
    """,
    ),
    (
        set(ROLES),
        """
        check_option
    """,
    ),
    (
        {W},
        """
        make_partition seal_partition carry_forward drop_partition prune_audit sample retry_delay
    """,
    ),
    (
        {A},
        """
        cancel cancel_proof retry pause resume record
    """,
    ),
    (
        {W, M, A},
        """
        status_of depth walk ids_given newcomers estimate rates times bucket_seconds appended_since ended_since moves
        running_tasks overdue_tasks spoken spoken_age level up_to health_of_server health_of_tables health_of_work
        explain explain_ended explain_running explain_waiting explain_later explain_busy explain_limited
        explain_place missing_grants table_grants function_grants
    """,
    ),
    (
        set(),
        """
        grant_roles grant_monitor make_role make_member revoke_public leaf_settings make_default_partition
        check_partition announce_settings restricted_grants check_restricted restrict
        unrestrict
    """,
    ),
]

# Of days no more than health needs to look along an index at what is due far ahead.
FAR_AHEAD = {f"tasks_default.{column}" for column in ("queue", "status", "priority", "scheduled_at")}
WRITTEN = "queue task payload priority created_at scheduled_at max_attempts timeout limit_keys weight trace"
# What may be written, by table: all of it (*), or columns.
MAY_WRITE = {
    E: {"tasks": {"insert": WRITTEN}},
    W: {
        "tasks": {
            "insert": WRITTEN,
            "update": "status scheduled_at started_at completed_at worker_id lease attempts crashes bounces suspect"
            " throttled_by last_error traceback",
            "delete": "*",
        },
        "unique_keys": {"delete": "*"},
        "attempts": {"insert": "*", "delete": "*"},
        "counts": {"insert": "*", "delete": "*"},
        "depths": {"insert": "*", "delete": "*"},
        "timings": {"insert": "*", "delete": "*"},
        "totals": {"insert": "*", "update": "*"},
        "limit_usage": {"insert": "*", "update": "*", "delete": "*"},
        "workers": {"insert": "*", "update": "*", "delete": "*"},
        "upkeep": {"update": "ran_at"},
        "alert_rules": {"update": "ran_at took error"},
        "alerts": {"insert": "*", "update": "*", "delete": "*"},
        "alert_notes": {"insert": "*", "update": "*", "delete": "*"},
    },
    M: {},
    A: {
        "tasks": {
            "insert": WRITTEN,
            "update": "status scheduled_at started_at completed_at cancel_requested worker_id lease attempts crashes",
            "delete": "*",
        },
        "unique_keys": {"insert": "*", "delete": "*"},
        "counts": {"insert": "queue minute cancelled"},
        "queues": {"insert": "*", "update": "*"},
        "limits": {"insert": "*", "update": "*"},
        "audit": {"insert": "actor action queue filter count note", "update": "count"},
        "alert_rules": {"insert": "*", "update": "*", "delete": "*"},
        "alert_targets": {"insert": "*", "update": "*", "delete": "*"},
        "alerts": {"insert": "*", "update": "*"},
        "alert_notes": {"insert": "*"},
    },
    NOBODY: {},
}
# What may not be read; those who enqueue read settings and ids of tasks alone.
HIDDEN = {
    "tasks.payload", "tasks.unique_key", "tasks.traceback", "tasks.lease", "dead_tasks.payload", "dead_tasks.traceback",
    "attempts.traceback", "unique_keys.key", "alert_targets.settings",
}  # fmt: skip
RELATIONS = (
    "select c.oid, c.relname::text, c.relkind::text from pg_class as c where c.relnamespace = 'pgq'::regnamespace"
    " and c.relkind in ('r', 'p', 'v', 'S')"
)


def by_word(lists: list[tuple[set[str], str]]) -> dict[str, set[str]]:
    """Return who may, by name."""
    return {word: who for who, words in lists for word in words.split()}


def test_each_statement_runs_for_those_it_is_for_and_for_nobody_else(doors: dict[str, str]) -> None:
    expected = by_word(MAY_RUN)
    got: dict[str, set[str]] = {file.stem: set() for file in statements.files("queries")}
    for role, dsn in doors.items():
        with psycopg.connect(dsn, autocommit=True) as conn:
            for name, who in got.items():
                if may(conn, name):
                    who.add(role)
    assert got == expected


def test_each_function_is_callable_by_those_it_is_for_and_by_nobody_else(
    conn: psycopg.Connection, names: dict[str, str]
) -> None:
    query = (
        "select p.proname::text, %s::text from pg_proc as p where p.pronamespace = 'pgq'::regnamespace"
        " and has_function_privilege(%s, p.oid, 'execute')"
    )
    expected = by_word(MAY_CALL)
    got: dict[str, set[str]] = {
        name: set()
        for (name,) in conn.execute(
            "select distinct proname::text from pg_proc where pronamespace = 'pgq'::regnamespace"
        )
    }
    for role, login in names.items():
        for name, _ in conn.execute(query, (role, login)):
            got[name].add(role)
    assert got == expected


@pytest.mark.parametrize("role", [NOBODY, *ROLES])
def test_each_table_is_written_as_far_as_a_role_needs_and_no_further(
    conn: psycopg.Connection, names: dict[str, str], role: str
) -> None:
    got: dict[str, dict[str, str]] = {}
    for oid, table, kind in conn.execute(RELATIONS).fetchall():
        if kind == "S":
            continue
        for privilege in ("insert", "update", "delete"):
            if conn.execute("select has_table_privilege(%s, %s::oid, %s)", (names[role], oid, privilege)).fetchone()[0]:
                got.setdefault(table, {})[privilege] = "*"
            elif privilege != "delete":
                columns = conn.execute(
                    "select a.attname::text from pg_attribute as a where a.attrelid = %s and a.attnum > 0"
                    " and not a.attisdropped and has_column_privilege(%s, a.attrelid, a.attnum, %s)",
                    (oid, names[role], privilege),
                ).fetchall()
                if columns:
                    got.setdefault(table, {})[privilege] = " ".join(sorted(name for (name,) in columns))
        for privilege in ("truncate", "references", "trigger"):
            asked = conn.execute(
                "select has_table_privilege(%s, %s::oid, %s)", (names[role], oid, privilege)
            ).fetchone()
            assert asked == (False,), (table, privilege)
    expected = {
        table: {privilege: " ".join(sorted(columns.split())) for privilege, columns in rights.items()}
        for table, rights in MAY_WRITE[role].items()
    }
    assert got == expected


@pytest.mark.parametrize("role", [NOBODY, *ROLES])
def test_each_column_is_read_by_those_it_is_for(conn: psycopg.Connection, names: dict[str, str], role: str) -> None:
    query = (
        "select c.relname || '.' || a.attname, c.relname::text, c.relispartition,"
        " has_column_privilege(%s, c.oid, a.attnum, 'select')"
        " from pg_class as c inner join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relnamespace = 'pgq'::regnamespace and c.relkind in ('r', 'p', 'v')"
    )
    for column, table, is_leaf, reads in conn.execute(query, (names[role],)).fetchall():
        match role:
            case "pgq_enqueue":
                expected = column == "tasks.id" or table in {"queues", "limits", "migrations"}
            case "pgq_monitor":
                expected = column in FAR_AHEAD if is_leaf else column not in HIDDEN
            case "pgq_worker" | "pgq_admin":
                hidden = {"dead_tasks.payload", "dead_tasks.traceback"} if role == W else set()
                expected = column in FAR_AHEAD if is_leaf else column not in hidden
            case _:
                expected = False
        assert reads == expected, (role, column)


@pytest.mark.parametrize("role", [NOBODY, *ROLES])
def test_no_role_makes_or_changes_anything_of_the_schema(doors: dict[str, str], role: str) -> None:
    tries = [
        "create table pgq.mine (id int)",
        "create function pgq.mine() returns int language sql as 'select 1'",
        "create or replace function pgq.status_of(task_id bigint) returns text language sql as $$ select 'mine' $$",
        "alter table pgq.tasks add column mine int",
        "alter table pgq.tasks disable row level security",
        "drop table pgq.audit",
        "truncate pgq.tasks",
        "create trigger mine before insert on pgq.tasks for each row execute function pgq.announce_settings()",
        "create policy mine on pgq.tasks",
        "create table public.leaf partition of pgq.tasks for values from ('1990-01-01') to ('1990-01-02')",
        "alter schema pgq rename to mine",
        "select setval('pgq.task_id', 1)",
        "create type public.mine as (status pgq.status)",
        "insert into pgq.migrations values (99, 'mine', 99, 'x')",
        "delete from pgq.audit",
        "update pgq.audit set actor = 'somebody'",
    ]
    with psycopg.connect(doors[role], autocommit=True) as conn:
        for text in tries:
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.WrongObjectType)):
                conn.execute(text)
        with suppress(psycopg.errors.InsufficientPrivilege):  # who holds a right, but may not pass it on, is warned
            conn.execute("grant all on pgq.tasks to public")
        leaked = "select count(*) from pg_class as c, aclexplode(relacl) where c.relname = 'tasks' and grantee = 0"
        assert conn.execute(leaked).fetchone() == (0,)


@pytest.mark.parametrize("partition", ["queues", "tasks", "tasks_default", "audit", "no_such"])
@pytest.mark.parametrize("function", ["seal_partition({!r})", "drop_partition({!r})", "carry_forward({!r}, 10)"])
def test_what_runs_as_the_owner_touches_days_of_tasks_alone(
    doors: dict[str, str], conn: psycopg.Connection, function: str, partition: str
) -> None:
    with psycopg.connect(doors[W], autocommit=True) as worker, pytest.raises(psycopg.Error) as caught:
        worker.execute(f"select pgq.{function.format(partition)}")
    assert caught.value.sqlstate == "PQ005"
    assert conn.execute("select count(*) from pgq.queues").fetchone() == (0,)
