"""The schema: whether it is there and ours, whole, and equipped with its roles."""

from __future__ import annotations

import psycopg

from pgq.doctor.finding import Finding, names, one
from pgq.errors import SchemaError
from pgq.migrate import pending

ROLE = "pgq_monitor"
ROLES = ("pgq_admin", "pgq_enqueue", ROLE, "pgq_worker")
MEMBERS = tuple((member, role) for member in ("pgq_worker", "pgq_admin") for role in ("pgq_enqueue", ROLE))
_WIDE = (  # roles that pgq.restrict binds, and that came to another role since
    "select distinct format('%%s of %%s', r.rolname, w.rolname) from pg_policy as p"
    " inner join pg_roles as r on r.oid = any(p.polroles) inner join pg_roles as w on w.rolname = any(%s)"
    " where not p.polpermissive and p.polrelid = 'pgq.tasks'::regclass and pg_has_role(r.oid, w.oid, 'member')"
    " order by 1"
)
INDEXES = ["tasks_claim", "tasks_dead", "tasks_pkey", "tasks_processing"]


def schema(conn: psycopg.Connection) -> Finding:
    """Check that the schema is there, ours and up to date."""
    try:
        missing = pending(conn)
    except SchemaError as error:
        return Finding("schema", "fail", str(error))
    if any(step.version for step in missing):
        lacking = ", ".join(step.name for step in missing)
        return Finding("schema", "fail", f"it lacks {lacking}: run `pgq migrate`")
    if missing:
        return Finding("schema", "warn", "its functions and views are those of another version: run `pgq migrate`")
    return Finding("schema", "ok", "up to date")


def indexes(conn: psycopg.Connection) -> Finding:
    """Check that every day has all indexes of the line, and that they are valid."""
    gone = names(
        conn,
        "select wanted.name from unnest(%s::text[]) as wanted (name) left join pg_class as c"
        " on c.relname = wanted.name and c.relnamespace = 'pgq'::regnamespace where c.oid is null",
        INDEXES,
    )
    if gone:
        text = f"pgq.tasks lacks {', '.join(gone)}: claims read whole days; see `pgq migrate --sql` for how it is made"
        return Finding("indexes", "fail", text)
    lacking = names(
        conn,
        "select c.relname || ' of ' || l.relname from pg_class as c cross join pg_inherits as i"
        " inner join pg_class as l on l.oid = i.inhrelid"
        " where c.relname = any(%s) and c.relnamespace = 'pgq'::regnamespace and i.inhparent = 'pgq.tasks'::regclass"
        " and not exists (select from pg_inherits as p inner join pg_index as x on x.indexrelid = p.inhrelid"
        "   where p.inhparent = c.oid and x.indrelid = l.oid and x.indisvalid) order by 1",
        INDEXES,
    )
    if lacking:
        return Finding("indexes", "fail", f"missing or not valid: {', '.join(lacking)}; make it again, or reindex it")
    return Finding("indexes", "ok", "every day has all of them")


def roles(conn: psycopg.Connection) -> Finding:
    """Check that the roles are there and equipped, and that no restricted one sees more by another role."""
    gone = names(
        conn,
        "select wanted.name from unnest(%s::text[]) as wanted (name)"
        " where not exists (select from pg_roles as r where r.rolname = wanted.name) order by 1",
        list(ROLES),
    )
    if gone:
        orders = "; ".join(f"create role {role} nologin" for role in gone)
        text = f"there is no role {', '.join(gone)}: let an administrator run `{orders}`, then `pgq migrate`"
        return Finding("roles", "warn", f"{text} ({_without(gone)})")
    if lacking := one(conn, "select count(*) from pgq.missing_grants()"):
        return Finding("roles", "warn", f"they lack {lacking} rights: run `pgq migrate` as the schema's owner")
    if loose := [pair for pair in MEMBERS if not one(conn, "select pg_has_role(%s, %s, 'member')", *pair)]:
        orders = "; ".join(f"grant {role} to {member}" for member, role in loose)
        return Finding("roles", "warn", f"some are no members of others: let an administrator run `{orders}`")
    if wide := names(conn, _WIDE, list(ROLES)):
        text = f"restricted to queues, but a member of more: {', '.join(wide)}: revoke that"
        return Finding("roles", "fail", text)
    member = one(conn, "select pg_has_role(current_user, %s, 'member')", ROLE)
    text = "all are there" + ("" if member else f"; this user may not take {ROLE}, so `pgq sql` does without")
    return Finding("roles", "ok", text)


def _without(gone: list[str]) -> str:
    return "`pgq sql` does without" if gone == [ROLE] else "until then only the schema's owner can work with it"
