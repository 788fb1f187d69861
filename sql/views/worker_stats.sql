-- worker_stats: one row a worker process.
create or replace view pgq.worker_stats as
select w.id, w.name, w.host, w.pid, w.queues, w.concurrency, w.running, w.stopping, w.version, w.started_at,
       w.heartbeat_at,
       extract(epoch from clock_timestamp() - w.heartbeat_at)::double precision as silent_for,
       w.heartbeat_at + w.lease * interval '1 second' > clock_timestamp() as alive,
       least(w.running::double precision / w.concurrency, 1) as utilisation,
       w.tasks,
       w.lease,
       w.supervisor, w.scale,
       count(w.supervisor) filter (where not w.stopping) over (partition by w.supervisor)::integer as processes
from pgq.workers as w;

comment on view pgq.worker_stats is 'Worker processes, and whether they are alive.';
comment on column pgq.worker_stats.id is 'Of one life of a process; a restarted worker has another.';
comment on column pgq.worker_stats.name is 'What it is called; host and process id unless it was given a name.';
comment on column pgq.worker_stats.host is 'The host it runs on.';
comment on column pgq.worker_stats.pid is 'Its process id there.';
comment on column pgq.worker_stats.queues is 'The queues it serves.';
comment on column pgq.worker_stats.concurrency is 'Its slots: tasks it runs at once.';
comment on column pgq.worker_stats.running is 'Tasks it held at its last heartbeat.';
comment on column pgq.worker_stats.stopping is 'Whether it was asked to stop, and lets what runs finish.';
comment on column pgq.worker_stats.version is 'Its version of pgq.';
comment on column pgq.worker_stats.started_at is 'When it registered.';
comment on column pgq.worker_stats.heartbeat_at is 'When it was heard of last.';
comment on column pgq.worker_stats.silent_for is 'Seconds since its last heartbeat.';
comment on column pgq.worker_stats.alive is 'Whether that is less than its lease.';
comment on column pgq.worker_stats.utilisation is 'Share of its slots that were in use, 0 to 1.';
comment on column pgq.worker_stats.tasks is 'Names of the tasks it knows; null: it did not say.';
comment on column pgq.worker_stats.lease is 'Seconds of silence after which it counts as dead and its tasks are given back.';
comment on column pgq.worker_stats.supervisor is 'The parent that started it and replaces it, as host:pid; null without one.';
comment on column pgq.worker_stats.scale is 'How many processes that parent runs: 4, or by need, 2..16; null without one.';
comment on column pgq.worker_stats.processes is 'How many it has now, those that are stopping not counted.';
