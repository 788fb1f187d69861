-- held: what of one queue runs now, and for how many seconds at least its worker counts as alive.
-- index: tasks_processing; then the workers' primary key
-- rows:  id, lease, limit_keys, weight, worker_id, lease_left (the same for all tasks of a worker)
select
  t.id,
  t.lease,
  t.limit_keys,
  coalesce(t.weight, 1) as weight,
  t.worker_id,
  coalesce(
    extract(
      epoch from greatest(
        w.heartbeat_at,
        case when pg_postmaster_start_time() < statement_timestamp() then pg_postmaster_start_time() end
      ) + w.lease * interval '1 second' - statement_timestamp()
    ),
    0
  )::float8 as lease_left
from pgq.tasks as t
left join pgq.workers as w on w.id = t.worker_id
where t.queue = %(queue)s
  and t.status = 'processing'
  and t.lease is not null
