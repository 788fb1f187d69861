-- partitions: make, seal and drop the days of pgq.tasks. Called by migrate and upkeep, one caller at a time.
--
-- Every lock here is asked for under the caller's lock_timeout (500 ms at most): a lock that waits behind a long
-- reader would make every enqueue wait behind it. A call that times out is simply tried again at the next turn.
--
-- They run as the schema's owner, so that workers need not own the tables: each takes a day or the name of one, and
-- touches nothing that pgq.partitions does not list.

create or replace function pgq.leaf_settings() returns text
language sql immutable
begin atomic
  -- Hot days die fast: vacuum early, without pausing.
  select 'autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, '
      || 'autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.05, '
      || 'autovacuum_analyze_threshold = 2000, autovacuum_vacuum_cost_delay = 0';
end;

create or replace function pgq.make_default_partition() returns void
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
begin
  if to_regclass('pgq.tasks_default') is null then
    execute format('create table pgq.tasks_default partition of pgq.tasks default with (%s)', pgq.leaf_settings());
  end if;
end
$$;

-- Raise PQ005 unless it is a day of pgq.tasks.
create or replace function pgq.check_partition(partition text) returns void
language plpgsql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
begin
  if not exists (select from pgq.partitions as p where p.name = check_partition.partition) then
    raise exception using errcode = 'PQ005', message = format('%s is no partition of pgq.tasks', coalesce(left(check_partition.partition, 100), 'null'));
  end if;
end
$$;

-- Make the partition of one UTC day; rows that waited for it in the default partition move over. Returns false
-- when it exists. Writers wait at the table meanwhile, before they choose a partition: one that waited at the default
-- partition would fail when it is let in, as its row belongs elsewhere by then. CREATE + ATTACH, because
-- CREATE … PARTITION OF would keep readers of other days out as well.
create or replace function pgq.make_partition(day date) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  leaf      text;
  day_start timestamptz;
  day_end   timestamptz;
begin
  perform pgq.check_option(day between '0001-01-01' and '9998-12-31',
    format('day must be in the years 1 to 9998, got %s', coalesce(day::text, 'null')));
  leaf := 'tasks_' || to_char(day, 'YYYYMMDD');
  day_start := day::timestamp at time zone 'UTC';
  day_end := (day + 1)::timestamp at time zone 'UTC';
  if to_regclass('pgq.' || leaf) is not null then
    return false;
  end if;
  execute format('create table pgq.%I (like pgq.tasks including defaults including constraints including indexes)'
                 ' with (%s)', leaf, pgq.leaf_settings());
  lock table only pgq.tasks in share row exclusive mode;
  -- Nobody sees this day's rows between the move and the attach.
  lock table pgq.tasks_default in access exclusive mode;
  execute format('with moved as (delete from pgq.tasks_default where scheduled_at >= $1 and scheduled_at < $2'
                 ' returning *) insert into pgq.%I select * from moved', leaf)
    using day_start, day_end;
  execute format('alter table pgq.tasks attach partition pgq.%I for values from (%L) to (%L)',
                 leaf, day_start, day_end);
  insert into pgq.partitions (name, starts_at, ends_at) values (leaf, day_start, day_end);
  return true;
end
$$;

-- Seal a day that is over and holds nothing pending or processing. The SHARE lock conflicts with writers in flight:
-- an enqueue that has not committed yet is waited for (or times this call out), never overlooked.
create or replace function pgq.seal_partition(partition text) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  busy boolean;
begin
  perform pgq.check_partition(partition);
  execute format('lock table pgq.%I in share mode', partition);
  execute format('select exists (select 1 from pgq.%1$I where status = ''pending'')'
                 ' or exists (select 1 from pgq.%1$I where status = ''processing'')', partition) into busy;
  if busy then
    return false;
  end if;
  update pgq.partitions set sealed_at = clock_timestamp() where name = partition and sealed_at is null;
  return found;
end
$$;

-- Carry up to `batch` rows that must outlive their day (dead letters; pending rows of a sealed day that a late commit
-- brought) into today's partition. Returns how many moved.
create or replace function pgq.carry_forward(partition text, batch integer) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  moved bigint;
begin
  perform pgq.check_partition(partition),
    pgq.check_option(batch >= 1, format('batch must be at least 1, got %s', coalesce(batch::text, 'null')));
  execute format('update pgq.tasks as t set scheduled_at = clock_timestamp()'
                 ' from (select id, scheduled_at, queue from pgq.%I where status in (''dead'', ''pending'')'
                 '       order by scheduled_at, id limit $1 for update skip locked) as o'
                 ' where t.queue = o.queue and t.id = o.id and t.scheduled_at = o.scheduled_at', partition)
    using batch;
  get diagnostics moved = row_count;
  return moved;
end
$$;

-- Drop a sealed day, looking again under the lock that keeps everybody out. Returns false when it still holds a row
-- that must not go.
create or replace function pgq.drop_partition(partition text) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  kept boolean;
begin
  perform pgq.check_partition(partition);
  -- The parent first, as every claim does: the other way round the two would deadlock.
  lock table only pgq.tasks in access exclusive mode;
  execute format('lock table pgq.%I in access exclusive mode', partition);
  -- Each by its own small index: while this looks, everybody waits.
  execute format('select exists (select 1 from pgq.%1$I where status = ''pending'')'
                 ' or exists (select 1 from pgq.%1$I where status = ''processing'')'
                 ' or exists (select 1 from pgq.%1$I where status = ''dead'')', partition) into kept;
  if kept then
    return false;
  end if;
  execute format('drop table pgq.%I', partition);
  delete from pgq.partitions where name = partition;
  return true;
end
$$;
