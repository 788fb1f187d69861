-- park: send due tasks of one exhausted key back before they are claimed, each to the moment its turn should come.
-- index: tasks_claim, once per priority, over about `reach` tasks of any key; then the primary key
-- Partitions are pruned while it runs only, as in claim, and for the same reason.
-- rows:  per priority: how many went, and the seconds from now until the last of them has its turn (null: none has)
-- Only tasks that have not been given a turn yet go: a turn that came may only be a moment late.
-- The k-th is due `first + k * step` seconds from now. Beyond an hour they spread over the hour that follows: by then
-- everything may have changed, and they must not all come back at once; that is no turn, and no bounce.
-- The clauses `… + 0` are always true; they keep the planner from expecting so many rows that it reads whole days.
with best as (
  select ripe.id, ripe.scheduled_at, ripe.priority
  from unnest(%(priorities)s::smallint[]) as lane (priority)
  cross join lateral (
    select coalesce((
      select t.scheduled_at
      from pgq.tasks as t
      where t.queue = %(queue)s
        and t.status = 'pending'
        and t.priority = lane.priority
        and t.scheduled_at <= (select statement_timestamp())
      order by t.scheduled_at, t.id
      offset %(reach)s
      limit 1
    ), statement_timestamp()) as until
  ) as far
  cross join lateral (
    select t.id, t.scheduled_at, t.priority
    from pgq.tasks as t
    where t.queue = %(queue)s
      and t.status = 'pending'
      and t.priority = lane.priority
      and t.scheduled_at <= far.until
      and t.bounces = 0
      and t.limit_keys @> array[%(key)s::text]
    order by t.scheduled_at, t.id
    limit %(count)s
    for no key update skip locked
  ) as ripe
  limit %(count)s
), turned as (
  select
    id, scheduled_at, priority,
    %(first)s + row_number() over (order by priority, scheduled_at, id) * %(step)s::double precision as seconds
  from best
), away as (
  update pgq.tasks as t
  set
    scheduled_at = clock_timestamp() + interval '1 second'
      * case when o.seconds > 3600 then 3600 + random() * 3600 else o.seconds end,
    bounces = case when o.seconds > 3600 then 0 else 1 end,
    throttled_by = %(key)s
  from turned as o
  where t.queue = %(queue)s
    and t.id = o.id
    and t.scheduled_at = o.scheduled_at
    and o.id = o.id + 0
    and o.scheduled_at = o.scheduled_at + interval '0'
  returning o.priority, o.seconds
)
select priority, count(*) as parked, max(seconds) filter (where seconds <= 3600) as last
from away
group by priority
order by priority
