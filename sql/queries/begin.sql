-- begin: say that runs of one queue are about to begin; only rows still under their lease, and not asked to stop, may.
-- index: primary key (id, scheduled_at, queue)
-- rows:  the ids that may begin; a missing one must not be started
-- A `suspect` is on its last attempt, which is spent from now on should its worker be lost; until then it would be given
-- back. The time of a run that waited more than `late` seconds since its claim, for its process to start, counts from now.
-- This commit need not wait for the disk: only a crash of Postgres loses it, and that leaves the worker alive. Should both
-- fall together, the attempt is given back although it had begun, as one whose claim was lost is.
-- The clauses `… + 0` are always true; they keep the planner from expecting so many rows that it reads whole days.
update pgq.tasks as t
set
  suspect = t.suspect or o.suspect,
  started_at = case
    when t.started_at < clock_timestamp() - %(late)s * interval '1 second' then clock_timestamp()
    else t.started_at
  end
from unnest(
  %(ids)s::bigint[], %(scheduled)s::timestamptz[], %(leases)s::uuid[], %(suspects)s::boolean[]
) as o (id, scheduled_at, lease, suspect)
where t.queue = %(queue)s
  and t.id = o.id
  and t.scheduled_at = o.scheduled_at
  and t.lease = o.lease
  and not t.cancel_requested
  and o.id = o.id + 0
  and o.scheduled_at = o.scheduled_at + interval '0'
returning t.id
