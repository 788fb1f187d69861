-- prune_workers: forget workers that have been silent past their lease; their tasks were given back before.
-- rows:  id, name
delete from pgq.workers as w
where greatest(
    w.heartbeat_at,
    case when pg_postmaster_start_time() < statement_timestamp() then pg_postmaster_start_time() end
  ) + w.lease * interval '1 second' < statement_timestamp()
returning w.id, w.name
