-- queue_totals: all that ever ended, per queue; counters that never fall, for metrics. Reads no tasks.
-- What a transaction of many minutes counted late shows once it is merged; counted at once, it could be missed between.
create or replace view pgq.queue_totals as
select
  q.name as queue,
  coalesce(t.completed, 0) + coalesce(c.completed, 0) as completed,
  coalesce(t.failed, 0) + coalesce(c.failed, 0) as failed,
  coalesce(t.dead, 0) + coalesce(c.dead, 0) as dead,
  coalesce(t.cancelled, 0) + coalesce(c.cancelled, 0) as cancelled,
  coalesce(t.retried, 0) + coalesce(c.retried, 0) as retried
from pgq.queues as q
left join pgq.totals as t on t.queue = q.name
cross join lateral (
  select
    sum(a.completed)::bigint as completed, sum(a.failed)::bigint as failed, sum(a.dead)::bigint as dead,
    sum(a.cancelled)::bigint as cancelled, sum(a.retried)::bigint as retried
  from pgq.counts as a
  where a.queue = q.name and not a.merged and a.minute > pgq.appended_since(q.name) - interval '10 minutes'
) as c;

comment on view pgq.queue_totals is 'All that ever ended, per queue: counters that never fall.';
comment on column pgq.queue_totals.queue is 'The queue.';
comment on column pgq.queue_totals.completed is 'Tasks that completed.';
comment on column pgq.queue_totals.failed is 'Tasks out of attempts, in a queue that keeps no dead letters.';
comment on column pgq.queue_totals.dead is 'Tasks that were dead-lettered; one that was replayed and died again counts twice.';
comment on column pgq.queue_totals.cancelled is 'Tasks that were cancelled.';
comment on column pgq.queue_totals.retried is 'Failed attempts that were tried again.';
