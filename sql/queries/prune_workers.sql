-- prune_workers: forget workers that have been silent past their lease; their tasks were given back before.
-- rows:  id, name
delete from pgq.workers as w
where greatest(w.heartbeat_at, pg_postmaster_start_time()) + w.lease * interval '1 second' < statement_timestamp()
returning w.id, w.name
