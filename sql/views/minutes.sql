-- minutes: what happened in each queue, minute by minute, for charts.
create or replace view pgq.minutes as
select
  c.queue,
  c.minute,
  max(c.arrived) as arrived,
  sum(c.completed)::bigint as completed,
  sum(c.failed)::bigint as failed,
  sum(c.dead)::bigint as dead,
  sum(c.cancelled)::bigint as cancelled,
  sum(c.retried)::bigint as retried,
  max(c.wait_p50) as wait_p50,
  max(c.wait_p95) as wait_p95,
  max(c.run_p50) as run_p50,
  max(c.run_p95) as run_p95,
  max(c.depth) as depth
from pgq.queues as q
cross join lateral (
  select m.queue, m.minute, m.arrived, m.completed, m.failed, m.dead, m.cancelled, m.retried, m.wait_p50, m.wait_p95,
         m.run_p50, m.run_p95, m.depth
  from pgq.counts as m
  where m.queue = q.name and m.merged and m.minute > statement_timestamp() - interval '3 hours'
  union all
  select a.queue, a.minute, a.arrived, a.completed, a.failed, a.dead, a.cancelled, a.retried, a.wait_p50, a.wait_p95,
         a.run_p50, a.run_p95, a.depth
  from pgq.counts as a
  where a.queue = q.name and not a.merged
    and a.minute > greatest(statement_timestamp() - interval '3 hours', (select pgq.appended_since(q.name)))
) as c
group by c.queue, c.minute;

comment on view pgq.minutes is 'Each queue minute by minute, for the last three hours; times and depth of a minute are there when it is over.';
comment on column pgq.minutes.queue is 'The queue.';
comment on column pgq.minutes.minute is 'The beginning of the minute.';
comment on column pgq.minutes.arrived is 'Tasks that arrived, enqueued or retried by hand; null: nobody counted.';
comment on column pgq.minutes.completed is 'Tasks that completed.';
comment on column pgq.minutes.failed is 'Tasks out of attempts, in a queue that keeps no dead letters.';
comment on column pgq.minutes.dead is 'Tasks that were dead-lettered.';
comment on column pgq.minutes.cancelled is 'Tasks that were cancelled.';
comment on column pgq.minutes.retried is 'Failed attempts that are tried again.';
comment on column pgq.minutes.wait_p50 is 'Seconds from being due to the start, median; null: nothing ran.';
comment on column pgq.minutes.wait_p95 is 'Seconds from being due to the start, 95th percentile.';
comment on column pgq.minutes.run_p50 is 'Seconds an attempt took, median; null: nothing ran.';
comment on column pgq.minutes.run_p95 is 'Seconds an attempt took, 95th percentile.';
comment on column pgq.minutes.depth is 'Tasks that waited or ran at its end; null: nobody counted.';
