-- crowd: where the due tasks of one exhausted key end, so that claims can look behind them while they are parked.
-- index: tasks_claim backwards, once per priority, over at most `reach` tasks of any key
-- Partitions are pruned while it runs only, as in claim, and for the same reason.
-- rows:  per priority where there are some, or more due tasks than `reach`: a due time that only tasks of other keys,
--        of the last `reach`, come after
select lane.priority, coalesce(
  (
    select late.scheduled_at
    from (
      select t.scheduled_at, t.id, t.bounces, t.limit_keys
      from pgq.tasks as t
      where t.queue = %(queue)s
        and t.status = 'pending'
        and t.priority = lane.priority
        and t.scheduled_at <= (select statement_timestamp())
      order by t.scheduled_at desc, t.id desc
      limit %(reach)s
    ) as late
    where late.bounces = 0
      and late.limit_keys @> array[%(key)s::text]
    order by late.scheduled_at desc, late.id desc
    limit 1
  ),
  (
    select t.scheduled_at
    from pgq.tasks as t
    where t.queue = %(queue)s
      and t.status = 'pending'
      and t.priority = lane.priority
      and t.scheduled_at <= (select statement_timestamp())
    order by t.scheduled_at desc, t.id desc
    offset %(reach)s
    limit 1
  )
) as ends
from unnest(%(priorities)s::smallint[]) as lane (priority)
