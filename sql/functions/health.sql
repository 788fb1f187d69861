-- health: what pgq.health looks at, one function for the server, one for the tables, one for the work. Each row is a check.
--
-- They read the server's own statistics and the small tables, never the tasks themselves, but for the first of the default
-- partition. What the caller may not see of other sessions (it takes pg_read_all_stats) is left out, and said.

create or replace function pgq.spoken_age(seconds double precision) returns text
language sql immutable
begin atomic
  select case
    when seconds < 120 then round(seconds::numeric) || ' s'
    when seconds < 7200 then round(seconds::numeric / 60) || ' min'
    when seconds < 172800 then round(seconds::numeric / 3600) || ' h'
    else floor(seconds::numeric / 86400) || ' days'
  end;
end;

create or replace function pgq.level(value double precision, warn double precision, critical double precision) returns text
language sql immutable
begin atomic
  select case when value >= critical then 'critical' when value >= warn then 'warn' else 'ok' end;
end;

create or replace function pgq.health_of_server(long double precision default 300) returns table (name text, status text, message text, value double precision)
language plpgsql stable
rows 10
set search_path = pg_catalog, pgq, pg_temp
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  return query
  select 'transactions', pgq.level(a.age, health_of_server.long, 7200),
    case when a.age >= health_of_server.long then format('%s is open for %s: dead rows pile up until it ends', a.who, pgq.spoken_age(a.age))
         else 'none is open for more than 5 min' end
      || case when a.hidden > 0 then format(' (%s sessions hide theirs from this user: grant it pg_read_all_stats)', a.hidden) else '' end,
    a.age
  from (
    select coalesce(max(h.age), 0) as age, (array_agg(h.who order by h.age desc nulls last))[1] as who,
           count(*) filter (where h.hidden) as hidden
    from (
      select format('a transaction of pid %s, user %s, %s,', s.pid, s.usename, s.application_name) as who,
             case when s.backend_xmin is not null or s.backend_xid is not null
               then extract(epoch from clock_timestamp() - s.xact_start)::double precision end as age,
             s.backend_type is null as hidden
      from pg_stat_activity as s
      where s.datname = current_database() and s.pid <> pg_backend_pid()
        and coalesce(s.backend_type, 'client backend') = 'client backend'
      union all
      select format('the prepared transaction %s', p.gid), extract(epoch from clock_timestamp() - p.prepared), false
      from pg_prepared_xacts as p
      where p.database = current_database()
    ) as h
  ) as a
  union all
  select 'replication slots', case when count(*) > 0 then 'warn' else 'ok' end,
    case when count(*) > 0 then format('slot %s is not read and keeps dead rows from being removed: drop it, or start its reader', min(r.slot_name))
         else 'none keeps dead rows' end,
    count(*)
  from pg_replication_slots as r
  where not r.active and (r.xmin is not null or r.catalog_xmin is not null)
  union all
  select 'notifications', pgq.level(u.used, 0.3, 0.7),
    case when u.used >= 0.3 then format('the queue of LISTEN/NOTIFY is %s %% full: a session that listens has been in one transaction for long; end it', round(u.used::numeric * 100))
         else 'the queue of LISTEN/NOTIFY is not filling' end,
    u.used
  from pg_notification_queue_usage() as u (used)
  union all
  select 'connections', pgq.level(c.used, 0.8, 0.95),
    format('%s of %s are in use', c.number, c.most)
      || case when c.used >= 0.8 then ': a worker needs five; raise max_connections, or run fewer processes with more concurrency' else '' end,
    c.used
  from (
    select d.number, m.most, d.number::double precision / m.most as used
    from (select sum(numbackends) as number from pg_stat_database) as d,
         (select current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer as most) as m
  ) as c
  union all
  select 'wraparound', pgq.level(x.age, 1e9, 1.8e9),
    case when x.age >= 1e9 then format('the oldest transaction id is %s million old, at 2,000 the database stops: let vacuum freeze it', round(x.age::numeric / 1e6))
         else format('the oldest transaction id is %s million old', round(x.age::numeric / 1e6)) end,
    x.age
  from (select age(datfrozenxid)::double precision as age from pg_database where datname = current_database()) as x
  union all
  select 'durability', case when 'off' in (current_setting('fsync'), current_setting('full_page_writes'),
                                      current_setting('synchronous_commit')) then 'warn' else 'ok' end,
    case when current_setting('fsync') = 'off' then 'fsync is off: a crash of the machine may lose or damage everything; turn it on'
         when current_setting('full_page_writes') = 'off' then 'full_page_writes is off: a crash of the machine may damage the tables; turn it on'
         when current_setting('synchronous_commit') = 'off' then 'synchronous_commit is off: a crash may lose tasks that were enqueued a moment before'
         else 'a commit is on disk when it is acknowledged' end,
    ('off' in (current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')))::integer;
end
$$;

create or replace function pgq.health_of_tables() returns table (name text, status text, message text, value double precision)
language plpgsql stable
rows 10
set search_path = pg_catalog, pgq, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  return query
  select 'autovacuum', case when current_setting('autovacuum') = 'off' or current_setting('track_counts') = 'off' then 'critical' else 'ok' end,
    case when current_setting('autovacuum') = 'off' then 'autovacuum is off: claims get slower with every task; turn it on'
         when current_setting('track_counts') = 'off' then 'track_counts is off, so autovacuum does not know what to do; turn it on'
         else 'on' end,
    (current_setting('autovacuum') = 'off' or current_setting('track_counts') = 'off')::integer
  union all
  -- A day asks for vacuum at 2 % dead rows; three times that, and a quarter of an hour since, it has none to spare.
  select 'dead rows', pgq.level(d.worst, 0.3, 3),
    case when d.worst >= 0.3 then format('%s has %s dead rows to %s live ones: autovacuum does not keep up, or an old transaction keeps them',
                                         d.leaf, d.dead, d.live)
         else 'autovacuum keeps up' end,
    d.worst
  from (
    select s.relname as leaf, s.n_dead_tup as dead, s.n_live_tup as live,
           s.n_dead_tup::double precision / greatest(s.n_live_tup, 100000) as worst
    from pg_inherits as i
    inner join pg_stat_all_tables as s on s.relid = i.inhrelid
    where i.inhparent = to_regclass('pgq.tasks')
    order by 4 desc
    limit 1
  ) as d
  union all
  select 'partitions', case when l.today > 0 then 'critical' when l.missing > 0 then 'warn' else 'ok' end,
    case when l.missing > 0 then format('none for %s: any running worker makes them', l.days)
         else 'today and the next 2 days have theirs' end,
    l.missing
  from (
    select count(*) as missing, count(*) filter (where day.ahead = 0) as today,
           string_agg((t.today + day.ahead)::text, ', ' order by day.ahead) as days
    from (select (clock_timestamp() at time zone 'UTC')::date as today) as t
    cross join generate_series(0, 2) as day (ahead)
    where not exists (select from pgq.partitions as p where p.name = 'tasks_' || to_char(t.today + day.ahead, 'YYYYMMDD'))
  ) as l
  union all
  select 'default partition', case when w.soon > 0 then 'warn' else 'ok' end,
    case when w.soon > 0 then format('%s tasks due soon lie in it: run a worker, it moves them', pgq.up_to(w.soon))
         when w.later > 0 then format('%s tasks due in the far future wait in it, as they should', pgq.up_to(w.later))
         else 'empty' end,
    w.soon
  from (
    select
      (
        -- By the first of each queue and priority: there may be a million that are due in a year.
        select count(*)
        from (
          select
          from pgq.queues as q
          cross join generate_series(0, 10) as lane (priority)
          cross join lateral (
            select
            from pgq.tasks_default as d
            where d.queue = q.name
              and d.status = 'pending'
              and d.priority = lane.priority::smallint
              and d.scheduled_at < statement_timestamp() + interval '2 days' -- not clock_timestamp: no index goes by that
            order by d.priority, d.scheduled_at
            limit 1000
          ) as one
          limit 1000
        ) as few
      ) as soon,
      (select count(*) from (select from pgq.tasks_default as d limit 1000) as few) as later
  ) as w
  union all
  select 'sealing', case when count(*) > 0 then 'warn' else 'ok' end,
    case when count(*) > 0 then format('%s is over for %s and not sealed, so claims go on looking into it: something of it is still pending or processing',
                                       min(p.name), pgq.spoken_age(extract(epoch from clock_timestamp() - min(p.ends_at))::double precision))
         else 'days that are over are sealed' end,
    count(*)
  from pgq.partitions as p
  where p.sealed_at is null and p.ends_at < clock_timestamp() - interval '1 day';
end
$$;

create or replace function pgq.up_to(number bigint) returns text
language sql immutable
begin atomic
  select case when number >= 1000 then '1000 or more' else number::text end;
end;

create or replace function pgq.health_of_work() returns table (name text, status text, message text, value double precision)
language plpgsql stable
rows 10
set search_path = pg_catalog, pgq, pg_temp
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  return query
  with alive as (
    select w.id, w.queues, w.started_at from pgq.worker_stats as w where w.alive
  ), backlog as (
    select q.name, q.paused_at, d.due, exists (select from alive as a where q.name = any(a.queues)) as served
    from pgq.queues as q
    inner join pgq.walk(null, 1000) as d on d.queue = q.name
  )
  select 'workers', case when count(*) = 0 then 'warn' else 'ok' end,
    case when count(*) = 0 then 'none is running: `pgq worker module:app`' else format('%s alive', count(*)) end,
    count(*)
  from alive
  union all
  select 'dead workers', case when count(*) > 0 then 'critical' else 'ok' end,
    case when count(*) > 0 then format('%s dead for %s still listed, with the tasks they held: run a worker, see its log',
                                       count(*), pgq.spoken_age(max(w.silent_for)))
         else 'none is left over' end,
    count(*)
  from pgq.worker_stats as w
  inner join pgq.workers as v on v.id = w.id
  where w.silent_for > v.lease + 60
  union all
  select 'clocks', case when count(*) > 0 then 'critical' else 'ok' end,
    case when count(*) > 0 then format('worker %s was heard of %s from now: the clock of Postgres went back; until then its death is not noticed',
                                       min(w.name), pgq.spoken_age(max(-w.silent_for)))
         else 'no worker was heard of in the future' end,
    coalesce(max(-w.silent_for), 0)
  from pgq.worker_stats as w
  where w.silent_for < -2
  union all
  select 'upkeep', case when count(*) > 0 then 'warn' else 'ok' end,
    case when count(*) > 0 then format('workers are at work, but not done for 15 min: %s; who holds locks on pgq.tasks?',
                                       string_agg(u.step, ', ' order by u.step))
         else 'nothing is late' end,
    count(*)
  from pgq.upkeep as u
  where u.ran_at < clock_timestamp() - interval '15 minutes'
    and exists (select from alive as a where a.started_at < clock_timestamp() - interval '15 minutes')
  union all
  select 'queues', case when bool_or(b.due > 0) then 'critical' when count(*) > 0 then 'warn' else 'ok' end,
    case when count(*) = 0 then 'every queue that is not paused has a worker'
         else 'no worker serves ' || string_agg(b.name || case when b.due > 0 then ' (tasks are due)' else '' end, ', ' order by b.name) end,
    count(*)
  from backlog as b
  where b.paused_at is null and not b.served
  union all
  select 'paused', case when count(*) > 0 then 'warn' else 'ok' end,
    case when count(*) = 0 then 'no queue is paused'
         else string_agg(b.name || case when b.due > 0 then ' (tasks are due)' else '' end, ', ' order by b.name)
           || ': `pgq queues resume` lets them go on' end,
    count(*)
  from backlog as b
  where b.paused_at is not null
  union all
  select 'stuck tasks', case when count(*) > 0 then 'critical' else 'ok' end,
    case when count(*) > 0 then format('%s, such as %s of queue %s: %s', count(*), min(s.id), (array_agg(s.queue order by s.id))[1],
                                       (array_agg(s.reason order by s.id))[1])
         else 'none' end,
    count(*)
  from pgq.stuck_tasks as s
  union all
  -- The rule that comes with alerts leaves this one out: an alert about alerts would have nobody to tell.
  select 'alerts', case when a.bad + a.lost > 0 then 'warn' else 'ok' end,
    case when a.bad > 0 then format('rule %s cannot be looked at: %s', a.rule, a.error)
         when a.lost > 0 then format('%s notes could not be delivered in 24 hours, see `pgq alerts history`: %s', a.lost, a.last_error)
         else 'rules are looked at, notes arrive' end,
    a.bad + a.lost
  from (
    select
      (select count(*) from pgq.alert_rules as r where r.error is not null) as bad,
      (select min(r.name) from pgq.alert_rules as r where r.error is not null) as rule,
      (select r.error from pgq.alert_rules as r where r.error is not null order by r.name limit 1) as error,
      (select count(*) from pgq.alert_notes as n where n.gave_up_at > clock_timestamp() - interval '1 day') as lost,
      (select max(n.last_error) from pgq.alert_notes as n where n.gave_up_at > clock_timestamp() - interval '1 day') as last_error
  ) as a;
end
$$;
