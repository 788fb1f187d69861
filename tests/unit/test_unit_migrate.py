"""migrate, statements, errors: what is installed, in which order, and what an SQLSTATE means."""

from __future__ import annotations

import hashlib

import pytest

from pgq import migrate, statements
from pgq.db import Call, positional
from pgq.errors import BY_SQLSTATE, PgqError, SchemaError, UniqueKeyTaken, UnknownQueue, from_sqlstate


def test_migrations_are_numbered_without_a_gap_and_the_functions_come_last() -> None:
    versions = [step.version for step in migrate.steps()]
    assert versions == [*range(1, len(versions)), 0]
    assert migrate.version() == versions[-2]


def test_each_step_knows_its_checksum() -> None:
    for step in migrate.steps():
        assert step.checksum == hashlib.sha256(step.sql.encode()).hexdigest()


def test_functions_stand_before_the_views_that_may_use_them() -> None:
    routines = migrate.steps()[-1].sql
    assert routines.index("create or replace function") < routines.index("create or replace view")


def test_functions_and_views_can_be_installed_again() -> None:
    lines = migrate.steps()[-1].sql.lower().splitlines()
    made = [line for line in lines if line.startswith("create ")]
    assert [line for line in made if not line.startswith("create or replace ")] == []


def test_the_script_holds_every_step_in_one_transaction() -> None:
    script = migrate.script()
    assert (script.startswith("begin;"), script.rstrip().endswith("commit;")) == (True, True)
    places = [script.index(step.sql.strip()) for step in migrate.steps()]
    assert places == sorted(places)


FRESH = (0, False, 0, False)
OURS = (1, True, 20, False)
APPLIED = {step.version: (step.checksum, migrate.REQUIRES) for step in migrate.steps()}


def test_an_installed_schema_is_fine() -> None:
    migrate.check(OURS, APPLIED, 180_000)


def test_functions_of_another_release_are_fine_too() -> None:
    migrate.check(OURS, {**APPLIED, 0: ("other", 1)}, 180_000)


@pytest.mark.parametrize(
    ("state", "applied", "server", "complaint"),
    [
        (FRESH, {}, 180_000, "run `pgq migrate`"),
        (OURS, {}, 180_000, "run `pgq migrate`"),
        (OURS, {**APPLIED, 99: ("x", 99)}, 180_000, "the schema is newer: it needs version 99"),
        (FRESH, {}, 130_012, "Postgres 14 or newer is needed, this server is 13"),
        ((1, False, 40, True), {}, 180_000, "Skytools"),
        ((1, False, 3, False), {}, 180_000, r"exists and is not ours \(3 objects\)"),
    ],
)
def test_a_schema_that_does_not_fit_says_what_to_do(state: object, applied: dict, server: int, complaint: str) -> None:
    with pytest.raises(SchemaError, match=complaint):
        migrate.check(state, applied, server)


def test_a_statement_is_its_file_without_the_header() -> None:
    assert statements.query("clock").startswith("select clock_timestamp()")
    assert statements.query("clock") is statements.query("clock")
    with pytest.raises(FileNotFoundError):
        statements.query("nothing")


@pytest.mark.parametrize("file", statements.files("queries"), ids=lambda file: file.stem)
def test_every_statement_can_be_numbered(file: object) -> None:
    class Everything(dict):
        def __missing__(self, key: str) -> str:
            return key

    text, names = positional(Call(file.stem, Everything()))
    assert "%(" not in text
    assert [f"${place}" in text for place, _ in enumerate(names, 1)] == [True] * len(names)
    assert len(set(names)) == len(names)


class DriverError(Exception):
    def __init__(self, text: str = "", **attributes: object) -> None:
        super().__init__(text)
        vars(self).update(attributes)


@pytest.mark.parametrize(("state", "kind"), BY_SQLSTATE.items())
def test_each_sqlstate_is_one_error_whatever_the_driver_calls_it(state: str, kind: type[PgqError]) -> None:
    for attribute in ("sqlstate", "pgcode"):
        found = from_sqlstate(DriverError("text", **{attribute: state}))
        assert (type(found), str(found)) == (kind, "text")


def test_our_error_is_found_inside_a_wrapped_one() -> None:
    wrapped = DriverError(orig=DriverError("inner", pgcode="PQ001"))
    assert isinstance(from_sqlstate(wrapped), UnknownQueue)
    caused = DriverError()
    caused.__cause__ = DriverError("inner", sqlstate="PQ003")
    assert isinstance(from_sqlstate(caused), UniqueKeyTaken)


def test_other_errors_are_not_ours() -> None:
    assert from_sqlstate(DriverError(sqlstate="23505")) is None
    assert from_sqlstate(ValueError("x")) is None
