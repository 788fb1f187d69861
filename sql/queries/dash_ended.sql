-- dash_ended: dead and failed tasks before a time, the latest first; looks at `most` of them.
-- index: tasks_dead
-- rows:  Listed: those that are like that, and the last that was looked at
with seen as materialized (
  select
    o.id, o.queue, o.task, o.status, o.priority, o.attempts, o.max_attempts, o.created_at, o.scheduled_at, o.started_at,
    o.completed_at, o.last_error
  from pgq.queues as q
  cross join lateral (
    select
      t.id, t.queue, t.task, t.status, t.priority, t.attempts, t.max_attempts, t.created_at, t.scheduled_at,
      t.started_at, t.completed_at, t.last_error
    from pgq.tasks as t
    where t.queue = q.name
      and t.status in ('dead', 'failed')
      and (t.completed_at, t.id) < (%(at)s::timestamptz, %(id)s::bigint)
    order by t.completed_at desc, t.id desc
    limit %(most)s
  ) as o
  where (%(queue)s::text is null or q.name = %(queue)s)
  order by o.completed_at desc, o.id desc
  limit %(most)s
), judged as (
  select
    row_number() over (order by s.completed_at desc, s.id desc) as place,
    count(*) over () as looked,
    (%(task)s::text is null or s.task = %(task)s)
      and (%(status)s::text is null or s.status = %(status)s::pgq.status)
      and (%(error)s::text is null or position(lower(%(error)s) in lower(coalesce(s.last_error, ''))) > 0) as fits,
    s.id, s.queue, s.task, s.status, s.priority, s.attempts, s.max_attempts, s.created_at, s.scheduled_at, s.started_at,
    s.completed_at, s.last_error
  from seen as s
)
select
  place, fits, id, queue, task, status::text as status, priority, attempts, max_attempts, created_at, scheduled_at,
  started_at, completed_at, left(last_error, 300) as last_error
from judged
where fits or place = looked
order by place
limit %(limit)s
