-- queue_stats: one row a queue. Waiting tasks are counted as far as that is cheap, else estimated (pgq.depth); ended ones
-- come from the per-minute counts, never from the history.
create or replace view pgq.queue_stats as
select
  q.name as queue,
  d.pending,
  d.processing,
  coalesce(c.completed, 0) as completed,
  coalesce(c.failed, 0) as failed,
  coalesce(c.dead, 0) as dead,
  coalesce(c.cancelled, 0) as cancelled,
  coalesce(c.retried, 0) as retried,
  greatest(extract(epoch from clock_timestamp() - d.oldest), 0)::double precision as oldest_due_age,
  q.paused_at is not null as paused,
  d.due,
  d.throttled,
  case when u.free_at > clock_timestamp() then u.free_at end as throttled_until,
  t.wait_p50,
  t.wait_p95,
  t.run_p50,
  t.run_p95,
  r.arrived_1m,
  r.arrived_5m,
  r.arrived_60m,
  r.served_1m,
  r.served_5m,
  r.served_60m,
  d.estimated,
  d.seen_at
from pgq.queues as q
inner join pgq.depth(null, (select greatest(20000 / greatest(count(*), 1), 100)::integer from pgq.queues)) as d on d.queue = q.name
left join pgq.rates() as r on r.queue = q.name
cross join lateral (
  select
    sum(part.completed)::bigint as completed, sum(part.failed)::bigint as failed, sum(part.dead)::bigint as dead,
    sum(part.cancelled)::bigint as cancelled, sum(part.retried)::bigint as retried
  from (
    select m.completed, m.failed, m.dead, m.cancelled, m.retried
    from pgq.counts as m
    where m.queue = q.name and m.merged and m.minute > statement_timestamp() - interval '24 hours'
    union all
    select a.completed, a.failed, a.dead, a.cancelled, a.retried
    from pgq.counts as a
    where a.queue = q.name and not a.merged
      and a.minute > greatest(statement_timestamp() - interval '24 hours', (select pgq.appended_since(q.name)))
  ) as part
) as c
left join pgq.times(statement_timestamp() - interval '5 minutes', 'infinity') as t on t.queue = q.name
left join pgq.limit_usage as u on u.name = 'queue:' || q.name;

comment on view pgq.queue_stats is 'Queue health: what waits, what runs, what ended in the last 24 hours, how fast.';
comment on column pgq.queue_stats.queue is 'The queue.';
comment on column pgq.queue_stats.pending is 'Tasks waiting, due or not.';
comment on column pgq.queue_stats.processing is 'Tasks held by workers now.';
comment on column pgq.queue_stats.completed is 'Completed in the last 24 hours.';
comment on column pgq.queue_stats.failed is 'Out of attempts in the last 24 hours, in a queue that keeps no dead letters.';
comment on column pgq.queue_stats.dead is 'Dead-lettered in the last 24 hours.';
comment on column pgq.queue_stats.cancelled is 'Cancelled in the last 24 hours.';
comment on column pgq.queue_stats.retried is 'Failed attempts in the last 24 hours that were tried again.';
comment on column pgq.queue_stats.oldest_due_age is 'Seconds the oldest waiting task is overdue; 0 when the next one is due later.';
comment on column pgq.queue_stats.paused is 'Whether claims are stopped.';
comment on column pgq.queue_stats.due is 'Tasks waiting that are due.';
comment on column pgq.queue_stats.throttled is 'Tasks that a limit sent back and that are not due again yet, when upkeep counted last.';
comment on column pgq.queue_stats.throttled_until is 'The limit of the queue itself lets nothing start before, as upkeep saw it last; null: it does.';
comment on column pgq.queue_stats.wait_p50 is 'Seconds from being due to the start, median of the last 5 minutes; null: nothing ran.';
comment on column pgq.queue_stats.wait_p95 is 'Seconds from being due to the start, 95th percentile of the last 5 minutes.';
comment on column pgq.queue_stats.run_p50 is 'Seconds an attempt took, median of the last 5 minutes; null: nothing ran.';
comment on column pgq.queue_stats.run_p95 is 'Seconds an attempt took, 95th percentile of the last 5 minutes.';
comment on column pgq.queue_stats.arrived_1m is 'Tasks per second that arrived in the last minute; null: nobody counted.';
comment on column pgq.queue_stats.arrived_5m is 'Tasks per second that arrived in the last 5 minutes.';
comment on column pgq.queue_stats.arrived_60m is 'Tasks per second that arrived in the last 60 minutes.';
comment on column pgq.queue_stats.served_1m is 'Tasks per second that ended in the last minute; null: nobody counted.';
comment on column pgq.queue_stats.served_5m is 'Tasks per second that ended in the last 5 minutes.';
comment on column pgq.queue_stats.served_60m is 'Tasks per second that ended in the last 60 minutes.';
comment on column pgq.queue_stats.estimated is 'Whether pending and due are too many to be counted for each look: then as of seen_at, brought forward by what ended and arrived.';
comment on column pgq.queue_stats.seen_at is 'When pending and due were counted.';
