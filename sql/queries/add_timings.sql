-- add_timings: tell how long tasks of one queue waited and ran lately, in buckets.
-- rows:  how many buckets
with told as (
  insert into pgq.timings (queue, minute, kind, bucket, tasks)
  select %(queue)s, date_trunc('minute', statement_timestamp()), o.kind, o.bucket, o.tasks
  from unnest(%(kinds)s::text[], %(buckets)s::smallint[], %(tasks)s::bigint[]) as o (kind, bucket, tasks)
  returning bucket
)
select count(*) as buckets
from told
