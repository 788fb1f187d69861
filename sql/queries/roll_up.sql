-- roll_up: merge the appended counts of each queue and minute into one row, and add them to the totals.
-- index: counts_appended, from where the last turn ended; counts_merged
-- rows:  queue, minute of each merged row
with lane as (
  select name, pgq.appended_since(name) as since
  from pgq.queues
), appended as (
  delete from pgq.counts as c
  using lane
  where c.queue = lane.name
    and c.minute >= lane.since
    and not c.merged
  returning c.queue, c.minute, c.completed, c.failed, c.dead, c.cancelled, c.retried, c.arrived, c.depth,
    c.wait_p50, c.wait_p95, c.run_p50, c.run_p95
), merged as (
  delete from pgq.counts as c
  using (select distinct queue, minute from appended) as a
  where c.queue = a.queue
    and c.minute = a.minute
    and c.merged
  returning c.queue, c.minute, c.completed, c.failed, c.dead, c.cancelled, c.retried, c.arrived, c.depth,
    c.wait_p50, c.wait_p95, c.run_p50, c.run_p95
), old as (
  select * from appended
  union all
  select * from merged
), totalled as (
  insert into pgq.totals as t (queue, completed, failed, dead, cancelled, retried)
  select queue, sum(completed), sum(failed), sum(dead), sum(cancelled), sum(retried)
  from appended
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
select queue, minute, sum(completed), sum(failed), sum(dead), sum(cancelled), sum(retried), max(arrived), max(depth),
  max(wait_p50), max(wait_p95), max(run_p50), max(run_p95), true
from old
group by queue, minute
returning queue, minute
