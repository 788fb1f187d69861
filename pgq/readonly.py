"""Questions in SQL that change nothing: the three locks of `pgq sql` and of alert rules.

First lock: the text itself. A scanner that reads as Postgres does takes only what needs no second thought (no escapes,
no dollar quotes, no block comments), then sqlglot must find one query over the public tables and views of pgq; every
function that is called must be on a list. The text that was checked is the text that runs, never what sqlglot would
make of it. Second lock: a read-only transaction with a timeout and a fixed search path, whose one cursor takes one
query and no more. Third lock: the role `pgq_monitor`, where it exists and this user may take it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from pgq import statements
from pgq.errors import PgqError
from pgq.functions import FUNCTIONS, OURS, SYNTAX, TABLES, TYPES, WRITES

ROLE = "pgq_monitor"
LONGEST = 20_000  # characters
LONGEST_REFUSAL = 400  # characters
VIEWS = frozenset(file.stem for folder in ("views", "reports") for file in statements.files(folder))
HIDDEN = "payload, unique_key and traceback are kept from it, and `*` asks for them too: name the columns you want"

_TOKEN = re.compile(
    r"""(?P<space>[ \t\n]+|--[^\n]*)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>[0-9][0-9.]*(?:[eE][+-]?[0-9]+)?)
      | (?P<odd>/\*|\*/|\$|\\|[{}`])
      | (?P<mark>[-+*/<>=~!@#%^&|?()\[\],.:;])""",
    re.VERBOSE,
)
_ODD = {"/*": "block comments", "*/": "block comments", "$": "dollar quotes and parameters", "\\": "backslashes"}
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)
_CHANGES = (exp.DML, exp.DDL, exp.Into, exp.Lock, exp.Command, exp.Set, exp.Parameter, exp.Placeholder)


class Refused(PgqError):  # noqa: N818 - reads as what happened
    """A statement that is no harmless question; the message names what was refused, in one line."""

    def __init__(self, message: str) -> None:
        line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in message)
        super().__init__(line if len(line) <= LONGEST_REFUSAL else f"{line[: LONGEST_REFUSAL - 1]}…")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: names of columns, rows, whether there were more, and whether the monitor's role asked."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    cut: bool
    as_monitor: bool


def ask(conn: psycopg.Connection, text: str, *, limit: int = 1000, timeout: float = 5.0) -> Answer:
    """Check one question and answer it, `limit` rows at most, within `timeout` seconds.

    The connection must not be in a transaction. Raises Refused, and psycopg.Error for what the database says.
    """
    text = check(text)
    with conn.transaction():
        conn.execute("set transaction read only")
        conn.execute("set local search_path = pgq, pg_catalog, pg_temp")
        conn.execute("set local standard_conforming_strings = on")
        conn.execute(f"set local statement_timeout = {max(int(timeout * 1000), 1)}".encode())
        conn.execute("set local lock_timeout = '1s'")
        as_monitor = _take_role(conn)
        try:
            # Prepared, so that the server itself takes no second statement; a cursor takes nothing that writes.
            conn.execute(f"declare question no scroll cursor for {text}\n".encode(), prepare=True)
            cursor = conn.execute(f"fetch {limit + 1} from question".encode())
        except psycopg.errors.QueryCanceled:
            raise Refused(f"it took longer than {timeout:g} s and was stopped") from None
        except psycopg.errors.InsufficientPrivilege as error:
            if not as_monitor:
                raise
            raise Refused(f"{ROLE} may not read all of that ({error.diag.message_primary}): {HIDDEN}") from None
        rows = cursor.fetchall()
        return Answer([column.name for column in cursor.description or ()], rows[:limit], len(rows) > limit, as_monitor)


def _take_role(conn: psycopg.Connection) -> bool:
    """Become the monitor until the end of the transaction; returns whether that was possible."""
    try:
        with conn.transaction():
            conn.execute(f"set local role {ROLE}".encode())
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege):
        return False
    return True


def check(text: str) -> str:
    """Return the one question that a text holds, without a `;` at its end. Raises Refused with what is wrong."""
    text = text.replace("\r\n", "\n").strip()
    if len(text) > LONGEST:
        raise Refused(f"a question may be at most {LONGEST} characters long, got {len(text)}")
    tokens = [token for token in _tokens(text) if token.lastgroup != "space"]
    while tokens and tokens[-1][0] == ";":
        text = text[: tokens.pop().start()] + "\n"
    if not tokens:
        raise Refused("nothing is asked")
    _check_words(tokens)
    _check_tree(text)
    return text


def _tokens(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or token.lastgroup == "odd":
            found = token[0] if token else text[at]
            if found in "'\"":
                raise Refused(f"a quote is not closed: {text[at : at + 20]!r}")
            raise Refused(f"{_ODD.get(found, f'the character {found!r}')} cannot be used here")
        if "\0" in token[0]:
            raise Refused("a NUL cannot be used here")
        yield token
        at = token.end()


def _check_words(tokens: list[re.Match[str]]) -> None:
    """Refuse by the words alone: a second statement, what writes or locks, catalogs, functions that are on no list."""
    if tokens[0][0].lower() not in {"select", "with", "values", "("}:
        raise Refused(f"only a query may be asked, not {tokens[0][0].upper()}")
    for place, token in enumerate(tokens):
        before = tokens[place - 1] if place else None
        after = tokens[place + 1] if place + 1 < len(tokens) else None
        if token[0] == ";":
            raise Refused("only one statement may be asked")
        if token.lastgroup in {"word", "quoted"}:
            _check_word(tokens, place, before, after)
        if token.lastgroup == "text" and before and before.lastgroup in {"word", "quoted"}:
            if before.end() == token.start():
                raise Refused(f"strings with a prefix cannot be used here: {before[0]}'…'")
            if place > 1 and tokens[place - 2][0] == ".":
                raise Refused(f"the type {before[0]} cannot be used here")
        if token.lastgroup in {"quoted", "text"} and before and before[0] == "&" and before.end() == token.start():
            raise Refused("unicode escapes (U&) cannot be used here")


def _check_word(
    tokens: list[re.Match[str]], place: int, before: re.Match[str] | None, after: re.Match[str] | None
) -> None:
    token = tokens[place]
    name = _name(token)
    qualified = before is not None and before[0] == "."
    called = after is not None and after[0] == "("
    if token.lastgroup == "word" and not qualified and name in WRITES:
        raise Refused(f"{name.upper()} cannot be used here: a question only reads")
    if called and not (before and before[0].lower() in {"as", "with", "recursive"}):
        _check_function(tokens, place, qualified)
    elif name.startswith("pg_") and name != "pg_catalog":
        raise Refused(f"{name} is no public table or view of pgq")
    if before is not None and before[0] == ":" and name not in TYPES:
        raise Refused(f"the type {name} cannot be used here")


def _check_function(tokens: list[re.Match[str]], place: int, qualified: bool) -> None:
    name = _name(tokens[place])
    if not qualified:
        word = tokens[place].lastgroup == "word"
        if (word and name in SYNTAX) or name in FUNCTIONS or name in OURS or (word and name in TYPES):
            return
    elif place > 1 and name in {"pgq": OURS, "pg_catalog": FUNCTIONS}.get(_name(tokens[place - 2]), ()):
        return
    raise Refused(f"the function {name} cannot be used here")


def _name(token: re.Match[str]) -> str:
    """Return the name that a word or a quoted name stands for."""
    return token[0][1:-1].replace('""', '"') if token.lastgroup == "quoted" else token[0].lower()


def _check_tree(text: str) -> None:
    """Refuse what sqlglot does not find to be one query over public tables and views."""
    try:
        trees = [tree for tree in sqlglot.parse(text, dialect="postgres") if tree is not None]
    except (SqlglotError, RecursionError) as error:
        said = str(error).splitlines()[0].partition(". Line ")[0] if str(error) else type(error).__name__
        raise Refused(f"it cannot be read as a query: {said}") from None
    if len(trees) != 1 or not isinstance(trees[0], _QUERIES):
        raise Refused("only one query may be asked")
    local = {cte.alias.lower() for cte in trees[0].find_all(exp.CTE)}
    for node in trees[0].walk():
        if isinstance(node, _CHANGES):
            raise Refused(f"{node.key.upper()} cannot be used here: a question only reads")
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            _check_table(node, local)
        if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.USERDEFINED:
            _check_type(node)


def _check_table(table: exp.Table, local: set[str]) -> None:
    name = table.name if table.this.quoted else table.name.lower()
    place = ".".join(part.name for part in table.parts)
    schema = table.db if table.args.get("db") and table.args["db"].quoted else table.db.lower()
    if table.catalog or schema not in {"", "pgq"}:
        raise Refused(f"{place} is outside of pgq")
    if name not in TABLES | VIEWS and (schema or name.lower() not in local):
        raise Refused(f"{place} is no public table or view of pgq")


def _check_type(kind: exp.DataType) -> None:
    name = str(kind.args.get("kind") or "").lower().removeprefix("pgq.")
    if name not in TYPES:
        raise Refused(f"the type {name} cannot be used here")
