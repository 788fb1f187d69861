-- heartbeat: say that this process lives.
-- index: workers primary key
-- rows:  the id; none when the others have declared it dead
update pgq.workers
set
  heartbeat_at = clock_timestamp(),
  running = %(running)s,
  stopping = %(stopping)s
where id = %(id)s
returning id
