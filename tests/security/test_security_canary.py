"""What is secret is looked for wherever a person or a machine reads: output, logs, errors that people see."""

from __future__ import annotations

import json
import logging
from typing import Any

import psycopg
import pytest
from command_line import CHOICES, finish, invoke, start
from factory import make_queue, make_task
from people import NOBODY, PASSWORD, dsn_of
from psycopg.conninfo import make_conninfo
from serving import eventually, serving

import pgq
from pgq.cli.__main__ import cli
from pgq.logs import JsonLines, TextLines
from pgq.task import failure

CANARY = "4929canary7731"


def commands() -> list[list[str]]:
    """Every command that takes a DSN, with arguments that fit."""
    arguments = {
        "enqueue": ["jobs", "work", "{}"], "show": ["17"], "explain": ["17"], "cancel": ["17"], "retry": ["17"],
        "pause": ["jobs"], "resume": ["jobs"], "replay": ["--all"], "purge": ["--all", "--yes"], "sql": ["select 1"],
    }  # fmt: skip
    found = []
    for name, command in cli.commands.items():
        if name in {"worker", "dashboard", "demo", "up", "down", "top"}:
            continue
        for below, one in getattr(command, "commands", {"": command}).items():
            if any("--dsn" in parameter.opts for parameter in one.params):
                words = [name, *filter(None, [below])]
                given = ["customer"] if words == ["limits", "show"] else arguments.get(words[-1], [])
                found.append([*words, *given])
    return found


BROKEN = {
    "nobody listens": f"postgresql://app:{CANARY}@127.0.0.1:1/shop?connect_timeout=2",
    "no such host": f"host=nowhere.invalid user=app password={CANARY} dbname=shop connect_timeout=2",
    "special characters": f"postgresql://app:{CANARY}@x/y:1@127.0.0.1:1/shop",
    "no URL": f"postgres:/app:{CANARY}@host",
    "unknown option": f"postgresql://app:{CANARY}@127.0.0.1:1/shop?colour=red",
    "bad port": f"postgresql://app:{CANARY}@127.0.0.1:{CANARY}/shop",
}


@pytest.mark.parametrize("dsn", BROKEN.values(), ids=BROKEN)
def test_no_command_says_the_password_of_a_dsn_that_fails(dsn: str) -> None:
    assert len(commands()) > 20
    for words in commands()[:: 1 if "127.0.0.1:1" in dsn else 9]:
        for given in ({"words": [*words, "--dsn", dsn]}, {"words": words, "env": {"PGQ_DSN": dsn}}):
            result = invoke(*given["words"], env=given.get("env"))
            assert result.exit_code != 0, words
            assert CANARY not in result.output + result.stderr, words


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_worker_that_cannot_connect_says_no_password(form: str) -> None:
    for dsn in list(BROKEN.values())[:4]:
        words = ("worker", "cli_app:app", "--burst", "--log-format", form, "--log-level", "debug")
        _, out, err = finish(start(*words, env={"PGQ_DSN": dsn, "PGQ_REDIS_URL": f"redis://:{CANARY}@127.0.0.1:1"}))
        assert CANARY not in out + err
        assert err
    assert "PGQ_DSN" in CHOICES


def test_no_command_says_what_is_in_a_payload_when_it_is_refused(dsn: str, conn: psycopg.Connection) -> None:
    make_queue(conn)
    invoke("enqueue", "jobs", "work", "{}", "--unique-key", "k", "--dsn", dsn)
    conn.execute("alter table pgq.tasks add constraint odd check (payload ->> 'card' is null)")
    for payload in (
        f'{{"card": "{CANARY}"', f'{{"card": "{CANARY}\\u0000"}}', f'["{CANARY}"]', f'"{CANARY}"',
        f'{{"card": "{CANARY}"}}', f'{{"card": "{CANARY}", "n": NaN}}', f'{{"{CANARY}": 1, "card": 1e999}}',
    ):  # fmt: skip
        for words in ([payload], [payload, "--unique-key", "k"], [payload, "--priority", "99"], ["-"]):
            result = invoke("enqueue", "jobs", "work", *words, "--dsn", dsn, stdin=payload)
            assert result.exit_code != 0
            assert CANARY not in result.output + result.stderr, (payload, words)


def test_plain_sql_says_nothing_of_a_payload_in_the_line_that_clients_log(conn: psycopg.Connection) -> None:
    make_queue(conn)
    for payload in (f'{{"card": "{CANARY}"', f'{{"card": "{CANARY}\\u0000"}}', f'["{CANARY}"]'):
        with pytest.raises(psycopg.Error) as caught:
            conn.execute("select pgq.enqueue('jobs', 'work', %s::text)", (payload,))
        assert CANARY not in str(caught.value)


def app_that_fails(conn: psycopg.Connection) -> tuple[pgq.App, Any, list[Any]]:
    """Return an app, a task whose payload does not fit it, and others that fail with theirs."""
    app = pgq.App()
    jobs = app.queue("jobs", max_attempts=1)

    @jobs.task
    async def raises(card: str) -> None:
        raise RuntimeError("no luck" if card else "no card")

    @jobs.task
    async def collides(card: str) -> None:
        conn.execute("insert into public.cards values (%s), (%s)", (card, card))

    @jobs.task
    async def misfits(other: str) -> None: ...

    @jobs.task
    def in_thread(card: str) -> None:
        json.loads(card)

    return app, misfits, [raises, collides, in_thread]


async def test_a_workers_logs_have_no_payload_whatever_fails(
    config: pgq.Config, aconn: psycopg.AsyncConnection, conn: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app, misfits, failing = app_that_fails(conn)
    await app.adeclare(aconn)
    conn.execute("create table public.cards (card text primary key)")
    for handler in failing:
        await handler.aenqueue(aconn, CANARY)
    make_task(conn, task="misfits", max_attempts=1, payload=json.dumps({"card": CANARY}))
    make_task(conn, task="raises", max_attempts=1, payload=f'{{"card": "{CANARY}", "card2": 1}}')
    async with serving(app, config):

        async def ended() -> bool:
            rows = await aconn.execute("select count(*) from pgq.tasks where status <> 'dead'")
            return await rows.fetchone() == (0,)

        await eventually(ended)
        # The database refuses what the worker writes, and quotes the row.
        conn.execute("alter table pgq.tasks add constraint odd check (status <> 'completed') not valid")
        conn.execute("update pgq.tasks set status = 'dead'")
        await misfits.aenqueue(aconn, CANARY)

        async def complained() -> bool:
            return "violates check constraint" in caplog.text

        await eventually(complained)
        conn.execute("alter table pgq.tasks drop constraint odd")
    assert CANARY not in caplog.text
    errors = [error for (error,) in conn.execute("select last_error from pgq.tasks where last_error is not null")]
    assert len(errors) == 5
    assert CANARY not in " ".join(errors)
    assert any("duplicate key value violates unique constraint" in error for error in errors)


def test_an_error_of_a_database_keeps_its_first_line(conn: psycopg.Connection) -> None:
    conn.execute("create table public.cards (card text primary key)")
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        conn.execute("insert into public.cards values (%s), (%s)", (CANARY, CANARY))
    assert CANARY in str(caught.value)
    assert CANARY not in failure(caught.value).error
    assert "two\nlines" in failure(ValueError("two\nlines")).error


def test_a_wrong_password_is_not_said(dsn: str, names: dict[str, str]) -> None:
    wrong = make_conninfo(dsn_of(dsn, names[NOBODY]), password=CANARY, host="127.0.0.1", port=1)
    result = invoke("stats", "--dsn", wrong)
    assert result.exit_code == 1
    assert CANARY not in result.output
    assert PASSWORD not in result.output


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()], ids=["json", "text"])
def test_a_log_line_stars_passwords_out_whatever_quotes_them(formatter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgq.logs._SECRETS", [f"postgresql://app:{CANARY}@db/shop"])
    record = logging.LogRecord("pgq", logging.ERROR, "", 1, f"cannot connect to postgresql://app:{CANARY}@db", (), None)
    assert CANARY not in formatter.format(record)
    assert "***" in formatter.format(record)
