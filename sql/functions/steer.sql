-- steer: what an operator does to tasks and queues, in plain SQL. The command line calls these same functions.
--
--   select pgq.cancel(17);      'cancelled' at once, or 'requested' where it runs; its worker is told
--   select pgq.retry(17);       an ended task starts over; one that waits becomes due now
--   select pgq.pause('email');  nothing of it is claimed until pgq.resume('email'); enqueueing goes on
--
-- What did change something is recorded in pgq.audit, as done by `actor`, else by the current user.
-- Errors: PQ001 unknown queue, PQ003 the unique key is taken, PQ004 no such task.
-- An update that moves a row to another day makes whoever waited for it fail with 40001: look again.

create or replace function pgq.cancel(task_id bigint, actor text default null) returns text
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  ended pgq.tasks;
begin
  loop
    begin
      update pgq.tasks as t
      set status = case when t.status = 'pending' then 'cancelled' else t.status end,
          completed_at = case when t.status = 'pending' then clock_timestamp() end,
          cancel_requested = true
      where t.id = cancel.task_id and t.status in ('pending', 'processing')
      returning * into ended;
      exit;
    exception when serialization_failure then
      -- Under an older snapshot it would fail for ever.
      if current_setting('transaction_isolation') <> 'read committed' then
        raise;
      end if;
    end;
  end loop;
  if ended.id is not null then
    perform pgq.record('cancel', ended.queue, jsonb_build_object('ids', array[ended.id]), actor => cancel.actor);
  end if;
  if ended.status = 'cancelled' then
    delete from pgq.unique_keys as k
    where k.queue = ended.queue and k.key = ended.unique_key and k.task_id = ended.id;
    insert into pgq.counts (queue, minute, cancelled)
    values (ended.queue, date_trunc('minute', statement_timestamp()), 1);
    return 'cancelled';
  end if;
  if ended.status = 'processing' then
    perform pg_notify('pgq', 'cancel:' || ended.id || ':' || pgq.cancel_proof(ended.id, ended.lease));
    return 'requested';
  end if;
  return pgq.status_of(cancel.task_id);
end
$$;

-- What a note must carry to end a run: anybody may notify, but only who may read leases can make this.
create or replace function pgq.cancel_proof(task_id bigint, lease uuid) returns text
language sql immutable
begin atomic
  select encode(sha256(convert_to(task_id || ':' || coalesce(lease::text, ''), 'UTF8')), 'hex');
end;

create or replace function pgq.status_of(task_id bigint) returns text
language plpgsql stable
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  found_status text;
begin
  select t.status into found_status from pgq.tasks as t where t.id = status_of.task_id;
  if not found then
    raise exception using errcode = 'PQ004', message = format('no task %s', coalesce(status_of.task_id::text, 'null'));
  end if;
  return found_status;
end
$$;

create or replace function pgq.retry(task_id bigint, actor text default null) returns text
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
declare
  again  pgq.tasks;
  holder bigint;
begin
  loop
    begin
      update pgq.tasks as t
      set status = 'pending', scheduled_at = clock_timestamp(), completed_at = null, started_at = null,
          cancel_requested = false, worker_id = null, lease = null, crashes = 0,
          attempts = case when t.status = 'pending' then t.attempts else 0 end
      where t.id = retry.task_id and t.status <> 'processing'
      returning * into again;
      exit;
    exception when serialization_failure then
      -- Under an older snapshot it would fail for ever.
      if current_setting('transaction_isolation') <> 'read committed' then
        raise;
      end if;
    end;
  end loop;
  if again.id is null then
    return pgq.status_of(retry.task_id);
  end if;
  -- Each turn takes the key, or finds who holds it; a holder that ends in between means another turn.
  while again.unique_key is not null loop
    insert into pgq.unique_keys (queue, key, task_id) values (again.queue, again.unique_key, again.id)
    on conflict do nothing;
    exit when found;
    select k.task_id into holder from pgq.unique_keys as k
    where k.queue = again.queue and k.key = again.unique_key;
    continue when not found;
    exit when holder = again.id;
    raise exception using errcode = 'PQ003',
      message = format('unique_key %L of queue %L is held by task %s', again.unique_key, again.queue, holder);
  end loop;
  perform pgq.record('retry', again.queue, jsonb_build_object('ids', array[again.id]), actor => retry.actor);
  perform pgq.ring(q.name, q.bell) from pgq.queues as q where q.name = again.queue;
  return 'pending';
end
$$;

create or replace function pgq.pause(queue text, actor text default null) returns void
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
begin
  update pgq.queues as q set paused_at = clock_timestamp() where q.name = pause.queue and q.paused_at is null;
  if found then
    perform pgq.record('pause', pause.queue, actor => pause.actor);
  elsif not exists (select from pgq.queues as q where q.name = pause.queue) then
    raise exception using errcode = 'PQ001', message = format('unknown queue %L', left(pause.queue, 100));
  end if;
end
$$;

create or replace function pgq.resume(queue text, actor text default null) returns void
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
begin
  update pgq.queues as q set paused_at = null where q.name = resume.queue and q.paused_at is not null;
  if found then
    perform pgq.record('resume', resume.queue, actor => resume.actor);
  elsif not exists (select from pgq.queues as q where q.name = resume.queue) then
    raise exception using errcode = 'PQ001', message = format('unknown queue %L', left(resume.queue, 100));
  end if;
end
$$;

-- Seconds before the next attempt: fixed, or delay x 2^(attempts - 1); power and delay are capped before they overflow.
create or replace function pgq.retry_delay(backoff text, delay float8, max_delay float8, attempts integer)
returns double precision
language sql immutable
begin atomic
  select least(max_delay, least(greatest(delay, 0), 1e9) * case backoff when 'exponential' then 2 ^ least(greatest(attempts, 1) - 1, 62) else 1 end);
end;

-- Settings are the truth and change live: every worker is told of every change.
create or replace function pgq.announce_settings() returns trigger
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
begin
  perform pg_notify('pgq', 'settings:');
  return null;
end
$$;

create or replace trigger announce_settings
after insert or update or delete on pgq.queues
for each statement execute function pgq.announce_settings();

create or replace trigger announce_settings
after insert or update or delete on pgq.limits
for each statement execute function pgq.announce_settings();
