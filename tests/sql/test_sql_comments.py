"""Everything that people see in the schema says what it is."""

from __future__ import annotations

import psycopg


def test_every_table_and_view_and_each_of_their_columns_has_a_comment(conn: psycopg.Connection) -> None:
    silent = conn.execute(
        "select c.relname from pg_class as c where c.relnamespace = 'pgq'::regnamespace"
        " and c.relkind in ('r', 'p', 'v') and not c.relispartition and obj_description(c.oid, 'pg_class') is null"
        " union all"
        " select c.relname || '.' || a.attname from pg_class as c"
        " inner join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relnamespace = 'pgq'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition"
        " and col_description(c.oid, a.attnum) is null"
    ).fetchall()
    assert silent == []
