-- record: write one action into the audit.
-- index: none, an insert
-- rows:  the entry's id
select pgq.record(
  %(action)s,
  %(queue)s::text,
  %(filter)s::text::jsonb,
  %(count)s::bigint,
  %(note)s::text,
  %(actor)s::text
)
