-- limit_stats: one row a limited queue, and one a limit key that upkeep saw. Reads no tasks.
-- The settings are those of now; what upkeep saw may be of a while ago (seen_at).
create or replace view pgq.limit_stats as
select
  'queue:' || q.name as name,
  'queue' as kind,
  q.name as key,
  q.rate_max,
  q.rate_per,
  q.concurrency,
  u.used,
  u.running,
  case when u.free_at > clock_timestamp() then u.free_at end as throttled_until,
  coalesce(u.denied, 0) as denied,
  u.seen_at
from pgq.queues as q
left join pgq.limit_usage as u on u.name = 'queue:' || q.name
where q.rate_max is not null or q.concurrency is not null
union all
select
  u.name,
  split_part(u.name, ':', 1),
  substr(u.name, position(':' in u.name) + 1),
  l.rate_max,
  l.rate_per,
  l.concurrency,
  u.used,
  u.running,
  case when u.free_at > clock_timestamp() then u.free_at end,
  u.denied,
  u.seen_at
from pgq.limit_usage as u
left join pgq.limits as l on l.name = split_part(u.name, ':', 1)
where split_part(u.name, ':', 1) <> 'queue';

comment on view pgq.limit_stats is 'Limits: what they allow, and where upkeep last saw each queue and key.';
comment on column pgq.limit_stats.name is 'queue:<name>, or the limit key as tasks name it, kind:key.';
comment on column pgq.limit_stats.kind is '''queue'' for the limit of a whole queue, else the kind of key.';
comment on column pgq.limit_stats.key is 'The queue, or the key without its kind.';
comment on column pgq.limit_stats.rate_max is 'Units in any rate_per seconds, over all workers; null: no such limit.';
comment on column pgq.limit_stats.rate_per is 'Seconds of the window of rate_max.';
comment on column pgq.limit_stats.concurrency is 'Tasks at once, over all workers; null: no such limit.';
comment on column pgq.limit_stats.used is 'Units in the window when it was seen; null: not seen yet.';
comment on column pgq.limit_stats.running is 'Tasks running when it was seen; null: not seen yet.';
comment on column pgq.limit_stats.throttled_until is 'Nothing of it starts before; null: something may, or when a task ends.';
comment on column pgq.limit_stats.denied is 'Tasks sent back by this key since it was last quiet for a day.';
comment on column pgq.limit_stats.seen_at is 'When upkeep saw it.';
