-- prune_counts: merge the counts of ten minutes into one row when they are three hours old, and what came late (which
-- is added to the totals); forget those older than eight days.
-- index: none; the table is small because this runs
-- rows:  queue, minute of each merged row
with bin as (
  select queue, minute, merged,
    case when minute < statement_timestamp() - interval '3 hours' then date_bin('10 minutes', minute, '2000-01-01Z') else minute end
      as start
  from pgq.counts
), crowded as (
  select queue, start
  from bin
  group by queue, start
  having count(*) > 1 or not bool_and(merged) or start < statement_timestamp() - interval '8 days'
), old as (
  delete from pgq.counts as c
  using bin as b
  inner join crowded on crowded.queue = b.queue and crowded.start = b.start
  where c.queue = b.queue
    and c.minute = b.minute
    and c.minute < statement_timestamp() - interval '10 minutes'
  returning c.queue, b.start, c.merged, c.completed, c.failed, c.dead, c.cancelled, c.retried, c.arrived, c.depth,
    c.wait_p50, c.wait_p95, c.run_p50, c.run_p95
), totalled as (
  insert into pgq.totals as t (queue, completed, failed, dead, cancelled, retried)
  select queue, sum(completed), sum(failed), sum(dead), sum(cancelled), sum(retried)
  from old
  where not merged
  group by queue
  order by queue
  on conflict (queue) do update
  set
    completed = t.completed + excluded.completed,
    failed = t.failed + excluded.failed,
    dead = t.dead + excluded.dead,
    cancelled = t.cancelled + excluded.cancelled,
    retried = t.retried + excluded.retried
)
insert into pgq.counts (queue, minute, completed, failed, dead, cancelled, retried, arrived, depth, wait_p50, wait_p95,
  run_p50, run_p95, merged)
select queue, start, sum(completed), sum(failed), sum(dead), sum(cancelled), sum(retried), sum(arrived), max(depth),
  max(wait_p50), max(wait_p95), max(run_p50), max(run_p95), true
from old
where start >= statement_timestamp() - interval '8 days'
group by queue, start
returning queue, minute
