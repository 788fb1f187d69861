"""Many processes that start at once on an empty database install the schema once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg

from pgq import migrate


def test_six_migrations_at_once_on_an_empty_database_install_it_once(empty_dsn: str) -> Any:
    together = Barrier(6)

    def install(_: Any) -> Any:
        with psycopg.connect(empty_dsn, autocommit=True) as conn:
            together.wait(10)
            return migrate.migrate(conn)

    with ThreadPoolExecutor(6) as pool:
        applied = list(pool.map(install, range(6)))
    assert sorted(map(len, applied)) == [0, 0, 0, 0, 0, len(migrate.steps())]
    with psycopg.connect(empty_dsn) as conn:
        versions = conn.execute("select version from pgq.migrations order by version").fetchall()
        assert versions == sorted((step.version,) for step in migrate.steps())
        assert conn.execute("select pgq.enqueue_many('none', 'x', '{}')").fetchall() == []


def test_the_script_installs_what_migrate_installs(empty_dsn: str, conn: psycopg.Connection) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as other:
        other.execute(migrate.script())
        assert migrate.migrate(other) == []
        query = (
            "select 'function', oid::regprocedure::text, md5(prosrc) from pg_proc"
            " where pronamespace = 'pgq'::regnamespace union all select relkind::text, relname, ''"
            " from pg_class where relnamespace = 'pgq'::regnamespace order by 1, 2"
        )
        assert other.execute(query).fetchall() == conn.execute(query).fetchall()
