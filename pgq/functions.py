"""Names that a question may use: functions of Postgres that read only their arguments, functions of pgq, and types.

Left out are, whatever their volatility says: what sleeps, locks, signals, sets, reads files or large objects, runs SQL
given as text, takes a sequence's next value, or makes much of little (repeat, lpad).
"""

# ruff: noqa: SIM905 - long lists of words read best as text

from __future__ import annotations

# Of pg_catalog; called as they are or as pg_catalog.name.
FUNCTIONS = frozenset(
    """
    array_agg avg bit_and bit_or bool_and bool_or corr count covar_pop covar_samp every json_agg
    json_object_agg jsonb_agg jsonb_object_agg max min mode percentile_cont percentile_disc regr_slope
    regr_intercept regr_r2 stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance cume_dist
    dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number abs acos asin atan
    atan2 cbrt ceil ceiling cos degrees div exp floor greatest least ln log log10 mod pi power radians round
    sign sin sqrt tan trunc width_bucket ascii btrim char_length character_length chr concat concat_ws format
    initcap left length lower ltrim md5 octet_length overlay position quote_ident quote_literal regexp_match
    regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table replace reverse right rtrim
    split_part starts_with string_to_array string_to_table strpos substr substring to_char to_date to_hex
    to_number to_timestamp translate trim upper age clock_timestamp date_bin date_part date_trunc extract
    isfinite justify_days justify_hours justify_interval make_date make_interval make_time make_timestamp
    make_timestamptz now statement_timestamp timeofday transaction_timestamp timezone array_append array_cat
    array_dims array_length array_lower array_ndims array_position array_positions array_prepend array_remove
    array_replace array_to_string array_upper cardinality unnest json_array_elements json_array_elements_text
    json_array_length json_build_array json_build_object json_each json_each_text json_extract_path
    json_extract_path_text json_object_keys json_typeof jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path
    jsonb_extract_path_text jsonb_object_keys jsonb_pretty jsonb_typeof row_to_json to_json to_jsonb coalesce
    generate_series nullif num_nonnulls num_nulls pg_size_pretty pg_typeof txid_current_if_assigned
    current_database current_schema current_setting version
    """.split()
)
# Of pgq, which only read.
OURS = frozenset({"explain", "depth", "rates", "times", "spoken", "bucket_seconds", "ended_since"})
TABLES = frozenset(
    """
    alert_notes alert_rules alert_targets alerts attempts audit counts depths limit_usage limits migrations
    partitions queues tasks timings totals unique_keys upkeep workers
    """.split()
)
# Words with which something is written, set, locked or told; unquoted they can be nothing that is read.
WRITES = frozenset(
    """
    alter analyse analyze begin call checkpoint cluster comment commit copy create deallocate declare delete
    discard do drop execute explain grant import insert into listen load lock merge move notify operator
    prepare reassign refresh reindex release reset revoke rollback savepoint security set share start table
    tablesample truncate unlisten update vacuum
    """.split()
)
# What may stand before a parenthesis and calls nothing.
SYNTAX = frozenset(
    """
    all and any array as asc between by case cross cube desc distinct else end except exists filter from full
    grouping grouping_sets group having ilike in inner intersect interval is join lateral left like limit
    materialized natural not null offset on or order outer over partition range recursive right rollup row
    rows select sets similar some symmetric then to union using values when where window with within cast
    """.split()
)
TYPES = frozenset(
    """
    bigint bool boolean bytea char character cidr date decimal double float float4 float8 inet int int2 int4
    int8 integer interval json jsonb name numeric oid real smallint text time timestamp timestamptz timetz
    uuid varchar status
    """.split()
)
