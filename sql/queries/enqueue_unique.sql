-- enqueue_unique: add one task under a unique key; the function holds the rules for a key that is taken.
-- index: unique_keys primary key
-- rows:  the id of the task that holds the key now; null when skipped
select pgq.enqueue(
  %(queue)s,
  %(task)s,
  %(payload)s::text,
  %(priority)s::integer,
  %(delay)s::double precision * interval '1 second',
  %(scheduled_at)s::timestamptz,
  %(max_attempts)s::integer,
  %(timeout)s::double precision,
  %(unique_key)s::text,
  %(on_conflict)s::text,
  %(limit_keys)s::text[],
  %(weight)s::integer,
  %(trace)s::text
)
