-- next_due: how soon the next task of a queue becomes due, so that an idle worker wakes in time for it.
-- The last 50 ms are for what came due since the claim that went before.
-- index: tasks_claim, one probe per priority and day
-- rows:  one: seconds from now, null when nothing is scheduled
select extract(epoch from min(soonest.scheduled_at) - statement_timestamp())::double precision as seconds
from unnest(%(priorities)s::smallint[]) as lane (priority)
cross join lateral (
  select t.scheduled_at
  from pgq.tasks as t
  where t.queue = %(queue)s
    and t.status = 'pending'
    and t.priority = lane.priority
    and t.scheduled_at > statement_timestamp() - interval '50 milliseconds'
    and t.scheduled_at < statement_timestamp() + interval '1 hour'
  order by t.scheduled_at
  limit 1
) as soonest
