"""Arguments that no function of pgq is meant to get, by type, and one call of each function that is fine."""

# ruff: noqa: E501 - long lists of values

from __future__ import annotations

from collections.abc import Iterator

# Values as SQL.
HOSTILE = {
    "text": [
        "null", "''", "' '", "'nobody'", "repeat('x', 9000)", "$$'; drop schema pgq cascade; --$$", "'%s %I %L'", "E'a\\nb'",
        "U&'\\202E\\+01F600'", "'tasks_default'", "'tasks_19000101'", "'queues'", "'pg_authid'", "'jobs'", "'{'", "'NaN'",
    ],
    "integer": ["null", "0", "-1", "11", "2147483647", "(-2147483648)"],
    "bigint": ["null", "0", "-1", "9223372036854775807", "(-9223372036854775808)"],
    "smallint": ["null", "-1::smallint", "32767::smallint"],
    "boolean": ["null", "false"],
    "date": ["null", "date 'infinity'", "date '-infinity'", "date '0044-03-15 BC'", "date '5874897-12-31'", "date '10000-01-01'"],
    "double precision": ["null", "0", "-1", "'NaN'", "'Infinity'", "'-Infinity'", "1e308", "1e-320", "-1e308"],
    "timestamp with time zone": ["null", "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'294276-12-31'", "'1970-01-01'"],
    "interval": ["null", "'-1 day'", "'178000000 years'", "'-178000000 years'", "'0'", "'1000000 hours -1 month'"],
    "text[]": [
        "null", "'{}'", "array[null]", "array['']", "array_fill('customer:x'::text, array[5000])", "'{{a,b},{c,d}}'",
        "array['customer:a', null]", "array(select 'customer:' || n from generate_series(1, 2000) as n)",
    ],
    "jsonb": ["null", "'null'", "'[]'", "'1'", "'{}'", "('[' || repeat('1,', 5000) || '1]')::jsonb"],
    "json": ["null", "'null'", "'[]'", "'\"\"'", "'{\"a\":1,\"a\":2}'", "(repeat('[', 3000) || repeat(']', 3000))::json"],
    "jsonb[]": ["null", "'{}'", "array[null::jsonb]", "array['[]'::jsonb, '{}'::jsonb]"],
    "pgq.tasks": ["null", "(select t from pgq.tasks as t limit 1)"],
}  # fmt: skip
PAYLOADS = [
    "null", "''", "'[]'", "'nul'", "'{'", "'{\"a\": \"\\u0000\"}'", "'{\"a\": \"\\ud800\"}'", "'{\"a\": 1e999999}'", "'{\"a\": NaN}'",
    "repeat('[', 10000)", "'{\"a\": ' || repeat('[', 100000) || repeat(']', 100000) || '}'", "'{}' || repeat(' ', 2000000)",
    "repeat('{\"a\":', 50000) || '1' || repeat('}', 50000)", "'{\"a\": ' || repeat('9', 100000) || '}'",
]  # fmt: skip
TRACES = ["'00-' || repeat('0', 32)", "'x'", "''"]

# One call of each that is fine, argument by argument; a function that is missing here fails a test.
FINE = {
    "appended_since(text)": ["'jobs'"],
    "bucket_seconds(double precision)": ["3"],
    "cancel(bigint, text)": ["1", "'ann'"],
    "carry_forward(text, integer)": ["'tasks_20000101'", "10"],
    "check_limit_key(text, integer)": ["'customer:a'", "1"],
    "check_limit_keys(text[], integer)": ["array['customer:a']", "1"],
    "check_numbers(text)": ["'{}'"],
    "check_option(boolean, text)": ["true", "'it is not allowed'"],
    "check_payload(text)": ["'{}'"],
    "depth(text, integer)": ["'jobs'", "10"],
    "due_time(timestamp with time zone, interval)": ["now()", "null"],
    "drop_partition(text)": ["'tasks_20000101'"],
    "estimate(text, bigint, integer)": ["'jobs'", "0", "16"],
    "newcomers(text, bigint, timestamp with time zone, integer)": ["'jobs'", "0", "now() - interval '1 day'", "16"],
    "walk(text, integer)": ["'jobs'", "10"],
    "ended_since(text, timestamp with time zone)": ["'jobs'", "now()"],
    "explain(bigint)": ["1"],
    "explain_busy(text, text)": ["'jobs'", "'work'"],
    "explain_ended(pgq.tasks)": ["(select t from pgq.tasks as t limit 1)"],
    "explain_later(pgq.tasks)": ["(select t from pgq.tasks as t limit 1)"],
    "explain_limited(text, text[])": ["'jobs'", "array['customer:a']"],
    "explain_place(pgq.tasks)": ["(select t from pgq.tasks as t limit 1)"],
    "explain_running(pgq.tasks)": ["(select t from pgq.tasks as t limit 1)"],
    "explain_waiting(pgq.tasks)": ["(select t from pgq.tasks as t limit 1)"],
    "health_of_server(double precision)": ["300"],
    "health_of_tables()": [],
    "health_of_work()": [],
    "leaf_settings()": [],
    "level(double precision, double precision, double precision)": ["1", "2", "3"],
    "make_default_partition()": [],
    "make_partition(date)": ["date '2040-01-01'"],
    "moves(text)": ["'jobs'"],
    "overdue_tasks(text)": ["'jobs'"],
    "pause(text, text)": ["'jobs'", "'ann'"],
    "rates(text)": ["'jobs'"],
    "record(text, text, jsonb, bigint, text, text)": ["'pause'", "'jobs'", "'{}'", "1", "'why'", "'ann'"],
    "resume(text, text)": ["'jobs'", "'ann'"],
    "retry(bigint, text)": ["1", "'ann'"],
    "retry_delay(text, double precision, double precision, integer)": ["'exponential'", "5", "60", "3"],
    "ring(text, integer)": ["'jobs'", "1"],
    "running_tasks(text)": ["'jobs'"],
    "sample(text)": ["'jobs'"],
    "seal_partition(text)": ["'tasks_20000101'"],
    "spoken(timestamp with time zone)": ["now()"],
    "spoken_age(double precision)": ["60"],
    "status_of(bigint)": ["1"],
    "times(timestamp with time zone, timestamp with time zone)": ["now()", "now()"],
    "up_to(bigint)": ["5"],
}
_REST = ["5", "null", "null", "null", "null"]
for _payload in ("text", "jsonb", "json"):
    _types = f"text, text, {_payload}, integer, interval, timestamp with time zone, integer, double precision, text, text, text[], integer, text"
    FINE[f"enqueue({_types})"] = ["'jobs'", "'work'", "'{}'", *_REST, "null", "'raise'", "null", "null", "null"]
FINE[
    "enqueue_many(text, text, jsonb[], integer, interval, timestamp with time zone, integer, double precision, text[], integer, text)"
] = ["'jobs'", "'work'", "array['{}'::jsonb, '{}'::jsonb]", *_REST, "null", "null", "null"]


def calls(signature: str) -> Iterator[tuple[list[str], str]]:
    """Yield the arguments of hostile calls of a function, and the call: each argument in turn, then all at once."""
    name, types = signature.removesuffix(")").split("(", 1)
    kinds = types.split(", ") if types else []
    fine = FINE[signature]
    worst = max((len(HOSTILE[kind]) for kind in kinds), default=0)
    rows = [fine]
    for place, kind in enumerate(kinds):
        values = [
            *HOSTILE[kind],
            *(PAYLOADS if (name, place) in {("enqueue", 2), ("check_payload", 0)} and kind == "text" else []),
        ]
        values += TRACES if name.startswith("enqueue") and place == len(kinds) - 1 else []
        rows += [[*fine[:place], value, *fine[place + 1 :]] for value in values]
    rows += [[HOSTILE[kind][turn % len(HOSTILE[kind])] for kind in kinds] for turn in range(worst)]
    for row in rows:
        given = ", ".join(f"({value})::{kind}" for value, kind in zip(row, kinds, strict=True))
        yield row, f"select it::text from pgq.{name}({given}) as it"
