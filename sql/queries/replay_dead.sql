-- replay_dead: start picked dead letters over, with all their attempts; the k-th of them `step` x k seconds after `base`.
-- index: primary key (id, scheduled_at, queue); unique_keys primary key
-- rows:  id of each that somebody else did not hold or change meanwhile, and whether it starts over: not when its
--        unique key is taken, by a task that was there before or by one of the same batch
-- Without a step they are due now, a microsecond apart, so that they keep the order in which they died.
-- Locks: tasks by (scheduled_at, id), then unique_keys in their order.
with mine as (
  select t.id, t.scheduled_at, t.queue, t.unique_key, t.completed_at
  from pgq.tasks as t
  join unnest(%(ids)s::bigint[], %(scheduled)s::timestamptz[], %(queues)s::text[], %(died)s::timestamptz[])
    as o (id, scheduled_at, queue, died_at)
    on t.queue = o.queue and t.id = o.id and t.scheduled_at = o.scheduled_at
  where t.status = 'dead'
    and t.completed_at = o.died_at
  order by t.scheduled_at, t.id
  for no key update of t skip locked
), keyed as (
  insert into pgq.unique_keys (queue, key, task_id)
  select m.queue, m.unique_key, m.id
  from mine as m
  where m.unique_key is not null
  order by m.queue, m.unique_key, m.completed_at, m.id
  on conflict do nothing
  returning task_id
), free as (
  select
    m.id,
    m.scheduled_at,
    m.queue,
    row_number() over (order by m.completed_at, m.id) as place,
    max(clock_timestamp()) over () as now
  from mine as m
  where m.unique_key is null
     or m.id in (select task_id from keyed)
), started as (
  update pgq.tasks as t
  set
    status = 'pending',
    scheduled_at = greatest(
      f.now + f.place * interval '1 microsecond',
      %(base)s::timestamptz + (%(done)s::bigint + f.place - 1) * %(step)s::double precision * interval '1 second'
    ),
    completed_at = null,
    started_at = null,
    cancel_requested = false,
    worker_id = null,
    lease = null,
    crashes = 0,
    attempts = 0
  from free as f
  where t.queue = f.queue
    and t.id = f.id
    and t.scheduled_at = f.scheduled_at
  returning t.id, t.queue
), rung as (
  select pgq.ring(q.name, q.bell)
  from pgq.queues as q
  where q.name in (select queue from started)
)
select m.id, m.id in (select id from started) as started, (select count(*) from rung) as rung
from mine as m
