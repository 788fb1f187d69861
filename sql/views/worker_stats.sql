-- worker_stats: one row a worker process.
create or replace view pgq.worker_stats as
select w.id, w.name, w.host, w.pid, w.queues, w.concurrency, w.running, w.stopping, w.version, w.started_at,
       w.heartbeat_at,
       extract(epoch from clock_timestamp() - w.heartbeat_at)::double precision as silent_for,
       w.heartbeat_at + w.lease * interval '1 second' > clock_timestamp() as alive
from pgq.workers as w;

comment on view pgq.worker_stats is 'Worker processes, and whether they are alive.';
comment on column pgq.worker_stats.running is 'Tasks it held at its last heartbeat.';
comment on column pgq.worker_stats.silent_for is 'Seconds since its last heartbeat.';
