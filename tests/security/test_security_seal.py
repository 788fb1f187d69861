"""Sealed payloads: what the database, its readers and its logs see of them; what becomes of a task without its key."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import psycopg
import pytest
from command_line import succeed
from serving import eventually, serving, until_status

import pgq
from pgq.dashboard.redact import Redaction
from pgq.payload import MAX_BYTES
from pgq.seal import SEALED, Keys
from pgq.worker import Worker

CANARY = "4929-canary-7731"


def key(name: str) -> str:
    return f"{name}:{base64.b64encode(name.encode() * 8).decode()}"


OLD, NEW, OTHER = key("2025"), key("2026"), key("2027")


def app_with(keys: str, ran: list[str]) -> tuple[pgq.App, pgq.typed.Handler]:
    app = pgq.App(payload_keys=keys)

    @app.queue("cards", max_attempts=1).task(limit_key=None)
    async def charge(card: str) -> None:
        ran.append(card)

    return app, charge


def test_what_is_sealed_opens_for_its_own_task_alone() -> None:
    keys = Keys(f"{NEW},{OLD}")
    text = keys.seal('{"card":"x"}', "cards", "charge")
    assert text.startswith(SEALED)
    assert json.loads(text)["pgq:sealed"][0] == "2026"
    assert keys.open(text, "cards", "charge") == '{"card":"x"}'
    assert keys.seal('{"card":"x"}', "cards", "charge") != text
    for queue, task in (("other", "charge"), ("cards", "other")):
        with pytest.raises(pgq.InvalidPayload, match="does not open with key '2026'"):
            keys.open(text, queue, task)


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_a_changed_byte_does_not_open(place: int) -> None:
    keys = Keys(NEW)
    text = keys.seal('{"card":"x","name":"a longer one than that"}', "cards", "charge")
    name, sealed = json.loads(text)["pgq:sealed"]
    raw = bytearray(base64.b64decode(sealed))
    raw[place] ^= 1
    with pytest.raises(pgq.InvalidPayload, match="does not open"):
        keys.open(json.dumps({"pgq:sealed": [name, base64.b64encode(raw).decode()]}), "cards", "charge")


@pytest.mark.parametrize(
    "text", ['{"pgq:sealed":1}', '{"pgq:sealed":["a"]}', '{"pgq:sealed":["2026","%"]}', '{"pgq:sealed":']
)
def test_what_is_malformed_is_said_to_be(text: str) -> None:
    with pytest.raises(pgq.InvalidPayload, match="malformed"):
        Keys(NEW).open(text, "cards", "charge")


@pytest.mark.parametrize("text", ["x", ":", "a:", "a:%%", "a:c2hvcnQ=", f"{NEW},{NEW}", "a b:" + "A" * 43 + "="])
def test_keys_that_are_none_are_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(pgq.ConfigError) as caught:
        pgq.App(payload_keys=text)
    assert NEW.partition(":")[2] not in str(caught.value)
    assert "c2hvcnQ" not in str(caught.value)


async def test_a_payload_is_opaque_in_the_table_and_plain_in_the_handler_wherever_that_runs(
    config: pgq.Config, aconn: psycopg.AsyncConnection, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    app, charge = app_with(NEW, ran)
    await app.adeclare(aconn)
    task = await charge.options(unique_key="order-7").aenqueue(aconn, CANARY)
    await charge.aenqueue_many(aconn, [{"card": CANARY}])
    with psycopg.connect(dsn) as conn:
        charge.enqueue(conn, card=CANARY)
        charge.copy(conn, [{"card": CANARY}])
    stored = await (await aconn.execute("select payload::text, unique_key from pgq.tasks order by id")).fetchall()
    assert len(stored) == 4
    assert all(text.startswith(SEALED) and CANARY not in text for text, _ in stored)
    assert stored[0][1] == "order-7"  # the database compares it
    assert CANARY not in succeed("tasks", "show", task, "--dsn", dsn)
    assert "sealed with key 2026" in succeed("tasks", "show", task, "--dsn", dsn)
    assert Redaction(names=()).shown(stored[0][0]) == "(sealed with key 2026)"
    await Worker(app, config).run(burst=True)
    assert ran == [CANARY] * 4

    import sealed_app  # noqa: PLC0415 - its keys come from the environment

    assert sealed_app.app.payload_keys is None
    monkeypatch.setenv("PGQ_PAYLOAD_KEYS", NEW)
    child_app = sealed_app.made()
    await child_app.adeclare(aconn)
    in_child = await child_app.handlers["keep"].aenqueue(aconn, CANARY)
    async with serving(child_app, config):
        row = await until_status(aconn, in_child, "completed", "dead", seconds=30)
    assert (row.status, row.last_error) == ("completed", None)


async def test_keys_are_rotated_by_naming_the_new_one_first(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    ran: list[str] = []
    before, charge = app_with(OLD, ran)
    await before.adeclare(aconn)
    await charge.aenqueue(aconn, "old")
    after, charge = app_with(f"{NEW},{OLD}", ran)
    await charge.aenqueue(aconn, "new")
    await aconn.execute("select pgq.enqueue('cards', 'charge', '{\"card\": \"from SQL\"}')")
    used = await aconn.execute("select payload -> 'pgq:sealed' ->> 0, count(*) from pgq.tasks group by 1 order by 1")
    assert await used.fetchall() == [("2025", 1), ("2026", 1), (None, 1)]
    await Worker(after, config).run(burst=True)
    assert sorted(ran) == ["from SQL", "new", "old"]


@pytest.mark.parametrize("keys", ["", OTHER])
async def test_without_its_key_a_task_waits_and_spends_no_attempt(
    config: pgq.Config, aconn: psycopg.AsyncConnection, keys: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []
    app, charge = app_with(NEW, ran)
    await app.adeclare(aconn)
    task = await charge.aenqueue(aconn, CANARY)
    without, _ = app_with(keys, ran)
    async with serving(without, config):

        async def refused() -> bool:
            row = await (await aconn.execute("select last_error from pgq.tasks where id = %s", (task,))).fetchone()
            return bool(row and row[0])

        await eventually(refused)
    row = await until_status(aconn, task, "pending")
    assert row.attempts == 0
    assert 50 < (row.scheduled_at - row.seen_at).total_seconds() <= 60
    said = "its payload is sealed with key '2026', which this process does not have (PGQ_PAYLOAD_KEYS)"
    assert row.last_error == said
    assert said in caplog.text
    await aconn.execute("select pgq.retry(%s)", (task,))
    await Worker(app, replace(config)).run(burst=True)
    assert ran == [CANARY]


async def test_what_does_not_open_is_a_dead_letter_at_once(config: pgq.Config, aconn: psycopg.AsyncConnection) -> None:
    ran: list[str] = []
    app, charge = app_with(NEW, ran)
    await app.adeclare(aconn)
    await charge.aenqueue(aconn, CANARY)
    forged, _ = app_with("2026:" + OTHER.partition(":")[2], ran)
    await Worker(forged, config).run(burst=True)
    row = await (await aconn.execute("select status::text, last_error, traceback from pgq.tasks")).fetchone()
    assert row == ("dead", "the sealed payload does not open with key '2026': one of them was changed", None)
    assert ran == []


def test_a_payload_that_is_too_large_sealed_is_refused_before_sql(conn: psycopg.Connection) -> None:
    app, charge = app_with(NEW, [])
    app.declare(conn)
    with pytest.raises(pgq.InvalidPayload, match="when it is sealed"):
        charge.enqueue(conn, card="x" * (MAX_BYTES - 100))
