-- partition_stats: one row a day of pgq.tasks, and one for the default partition. Reads statistics only.
create or replace view pgq.partition_stats as
select
  c.relname::text as name,
  p.starts_at,
  p.ends_at,
  s.n_live_tup as live_rows,
  s.n_dead_tup as dead_rows,
  pg_total_relation_size(c.oid) as bytes,
  p.sealed_at,
  p.sealed_at + (select coalesce(max(q.retention), 604800) from pgq.queues as q) * interval '1 second' as drops_at,
  s.last_autovacuum
from pg_inherits as i
inner join pg_class as c on c.oid = i.inhrelid
left join pg_stat_all_tables as s on s.relid = c.oid
left join pgq.partitions as p on p.name = c.relname
where i.inhparent = to_regclass('pgq.tasks');

comment on view pgq.partition_stats is 'The days of pgq.tasks: how large they are, and when they go.';
comment on column pgq.partition_stats.name is 'The table of that day, in schema pgq; tasks_default holds what is due beyond the last day.';
comment on column pgq.partition_stats.starts_at is 'Tasks due from here on lie in it; null for the default partition.';
comment on column pgq.partition_stats.ends_at is 'Tasks due before here lie in it.';
comment on column pgq.partition_stats.live_rows is 'Tasks in it, as the statistics collector estimates.';
comment on column pgq.partition_stats.dead_rows is 'Dead row versions that vacuum has not removed, estimated.';
comment on column pgq.partition_stats.bytes is 'Bytes on disk, indexes included.';
comment on column pgq.partition_stats.sealed_at is 'When it was found to hold nothing pending or processing.';
comment on column pgq.partition_stats.drops_at is 'From when on it is dropped, once it holds nothing that must stay.';
comment on column pgq.partition_stats.last_autovacuum is 'When autovacuum last went through it.';
