-- timings: how long tasks waited for their start and how long they ran, of the last minutes.
--
-- Workers count in buckets, four to each doubling: bucket b holds b <= 4 x log2(seconds) < b + 1. What comes out is the
-- middle of a bucket, so at most 9 % beside the truth.

create or replace function pgq.bucket_seconds(bucket double precision) returns double precision
language sql immutable
begin atomic
  select 2 ^ ((case when bucket > 400 then 400 when bucket < -400 then -400 else bucket end + 0.5) / 4);  -- as a float holds it
end;

-- Medians, 95th percentiles and the mean run of each queue between two times, by the minute; null where nothing ran.
create or replace function pgq.times(since timestamptz, until timestamptz) returns table (
  queue    text,
  wait_p50 double precision,
  wait_p95 double precision,
  run_p50  double precision,
  run_p95  double precision,
  run_mean double precision
)
language sql stable
rows 10
begin atomic
  select
    q.name,
    pgq.bucket_seconds(min(r.bucket) filter (where r.kind = 'wait' and r.upto >= 0.5 * r.total)),
    pgq.bucket_seconds(min(r.bucket) filter (where r.kind = 'wait' and r.upto >= 0.95 * r.total)),
    pgq.bucket_seconds(min(r.bucket) filter (where r.kind = 'run' and r.upto >= 0.5 * r.total)),
    pgq.bucket_seconds(min(r.bucket) filter (where r.kind = 'run' and r.upto >= 0.95 * r.total)),
    (sum(pgq.bucket_seconds(r.bucket) * r.tasks) filter (where r.kind = 'run')
      / sum(r.tasks) filter (where r.kind = 'run'))::double precision
  from pgq.queues as q
  cross join lateral (
    select b.kind, b.bucket, b.tasks, sum(b.tasks) over (partition by b.kind order by b.bucket) as upto,
           sum(b.tasks) over (partition by b.kind) as total
    from (
      select t.kind, t.bucket, sum(t.tasks) as tasks
      from pgq.timings as t
      where t.queue = q.name and t.minute >= times.since and t.minute < times.until
      group by t.kind, t.bucket
    ) as b
  ) as r
  group by q.name;
end;
