-- enqueue: the SQL door for every language. One call adds one task inside the caller's transaction.
--
--   select pgq.enqueue('email', 'send_email', '{"to": "ada@example.org"}');
--   select pgq.enqueue('email', 'send_email', jsonb_build_object('to', email), priority => 0) from customers;
--   select pgq.enqueue('email', 'send_email', '{}', limit_keys => array['customer:acme'], weight => 3);
--
-- Errors: PQ001 unknown queue, PQ002 a value out of range, PQ003 the unique key is taken.

-- Tell sleeping workers, unless nobody sleeps (see the doorbell): true when it rang. One expression, so that the
-- planner puts it in place of the call: as plpgsql it cost 15 of the 170 µs of an enqueue (2026-11-26).
create or replace function pgq.ring(queue text, bell integer) returns boolean
language sql
begin atomic
  select case
    when pg_try_advisory_xact_lock_shared(7366513, ring.bell) then false
    else pg_notify('pgq', left('ring:' || ring.queue, 200)) is not null
  end;
end;

-- Refuse numbers that readers cannot hold: beyond a double, or of more digits than Python reads. Looked at only where
-- the text may have one; what stands in strings is no number.
create or replace function pgq.check_numbers(payload text) returns void
language plpgsql immutable
as $$
declare
  bare text;
begin
  if payload ~ '[0-9][eE][+]?[0-9]{3}|[0-9]{250}' then
    bare := regexp_replace(payload, '"(?:[^"\\]|\\.)*"', '""', 'g');
    perform pgq.check_option(
      not exists (
        select from regexp_matches(bare, '[0-9]+(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?', 'g') as found (number)
        where case when found.number[1] ~ '^[0-9]+$' then length(found.number[1]) > 4300
                   else found.number[1]::numeric > 1.7976931348623157e308 end
      ),
      'payload has a number that is too large: at most 1.79e308, or a whole number of 4,300 digits');
  end if;
end
$$;

create or replace function pgq.check_payload(payload text) returns json
language plpgsql immutable
as $$
begin
  if octet_length(payload) > 1048576 then
    raise exception using errcode = 'PQ002',
      message = format('payload must be at most 1048576 bytes, got %s', octet_length(payload));
  end if;
  -- jsonb refuses what no later reader could take: NUL, lone surrogates.
  if jsonb_typeof(payload::jsonb) <> 'object' then
    raise exception using errcode = 'PQ002',
      message = format('payload must be a JSON object, got %s', jsonb_typeof(payload::jsonb));
  end if;
  if length(payload) - length(translate(payload, '[{', '')) > 100 then
    perform pgq.check_option(
      not jsonb_path_exists(payload::jsonb, 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")'),
      'payload must be at most 100 levels deep');
  end if;
  perform pgq.check_numbers(payload);
  return payload::json;
exception when data_exception or statement_too_complex then
  raise exception using errcode = 'PQ002', message = format('payload is no valid JSON: %s', sqlerrm);
end
$$;

-- When a task is due: never in the past, always a time that every driver can read.
create or replace function pgq.due_time(scheduled_at timestamptz, delay interval) returns timestamptz
language plpgsql volatile
as $$
declare
  due timestamptz;
begin
  if not isfinite(due_time.scheduled_at) then
    raise exception using errcode = 'PQ002',
      message = format('scheduled_at must be finite, got %s', due_time.scheduled_at);
  end if;
  due := greatest(clock_timestamp(), coalesce(due_time.scheduled_at, clock_timestamp() + due_time.delay));
  if due < '9999-01-01' then
    return due;
  end if;
  raise datetime_field_overflow;
exception when datetime_field_overflow then
  raise exception using errcode = 'PQ002',
    message = format('a task must be due before the year 9999, got %s',
                     coalesce('scheduled_at ' || due_time.scheduled_at, 'delay ' || due_time.delay));
end
$$;

create or replace function pgq.check_option(allowed boolean, message text) returns void
language plpgsql immutable
as $$
begin
  if allowed is not true then
    raise exception using errcode = 'PQ002',
      message = left(coalesce(nullif(btrim(message), ''), 'a value is out of range'), 400);
  end if;
end
$$;

-- Refuse a limit key that is malformed, of no declared kind, or whose window could never hold the weight.
create or replace function pgq.check_limit_key(key text, weight integer) returns void
language plpgsql stable
as $$
declare
  kind pgq.limits;
  most integer;
begin
  perform pgq.check_option(key ~ '^[^:]+:.' and key !~ '[[:cntrl:]]' and length(key) <= 200,
    format('a limit key must look like ''kind:key'', at most 200 printable characters, got %L', left(key, 80)));
  select * into kind from pgq.limits as l where l.name = split_part(key, ':', 1);
  if not found then
    raise exception using errcode = 'PQ002',
      message = format('limit key %L is of no declared kind, there are: %s', key,
                       coalesce((select string_agg(l.name, ', ' order by l.name) from pgq.limits as l), 'none')),
      hint = 'Declare it in code and run: pgq queues sync module:app';
  end if;
  -- A rate that was lowered by hand, perhaps in an emergency, makes tasks wait; it must not make enqueues fail.
  most := greatest(kind.rate_max, (kind.declared ->> 'rate_max')::integer);
  perform pgq.check_option(kind.rate_max is null or coalesce(check_limit_key.weight, 1) <= most,
    format('weight must be at most %s, the rate of limit %L, got %s', most, kind.name, check_limit_key.weight));
end
$$;

-- Limit keys as they are stored: each once, in the order given; null for none.
create or replace function pgq.check_limit_keys(limit_keys text[], weight integer) returns text[]
language plpgsql stable
as $$
declare
  keys text[];
begin
  perform pgq.check_option(coalesce(check_limit_keys.weight, 1) >= 1,
    format('weight must be at least 1, got %s', check_limit_keys.weight));
  if check_limit_keys.limit_keys is null then
    return null;
  end if;
  keys := array(select k.key from unnest(check_limit_keys.limit_keys) with ordinality as k (key, place)
                group by k.key order by min(k.place));
  perform pgq.check_option(cardinality(keys) between 1 and 8,
    format('limit_keys must be 1 to 8 keys, got %s', cardinality(keys)));
  perform pgq.check_limit_key(k.key, check_limit_keys.weight) from unnest(keys) as k (key);
  return keys;
end
$$;

-- The part of pgq.enqueue that needs more rights than whoever enqueues should have: to see who holds a key, and to replace
-- what waits under it. Who calls it by hand gains nothing over a plain insert, which checks no more.
create or replace function pgq.enqueue_keyed(
  queue        text,
  task         text,
  payload      json,
  priority     integer,
  due          timestamptz,
  max_attempts integer,
  timeout      double precision,
  unique_key   text,
  on_conflict  text,
  limit_keys   text[],
  weight       integer,
  trace        text
) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pgq, pg_temp
as $$
#variable_conflict use_column
declare
  lane   pgq.queues;
  new_id bigint;
  holder bigint;
begin
  select * into strict lane from pgq.queues where name = enqueue_keyed.queue;
  new_id := nextval('pgq.task_id');
  -- Each turn either takes the key, or finds who holds it; a holder that ends in between means another turn.
  -- The lock order is task before key (as in settle), so the holder's key is read without a lock.
  loop
    insert into pgq.unique_keys (queue, key, task_id) values (enqueue_keyed.queue, enqueue_keyed.unique_key, new_id)
    on conflict do nothing;
    exit when found;
    select k.task_id into holder from pgq.unique_keys as k
    where k.queue = enqueue_keyed.queue and k.key = enqueue_keyed.unique_key;
    continue when not found;
    case enqueue_keyed.on_conflict
      when 'raise' then
        raise exception using errcode = 'PQ003',
          message = format('unique_key %L of queue %L is held by task %s',
                           enqueue_keyed.unique_key, enqueue_keyed.queue, holder);
      when 'skip' then
        return null;
      when 'return_existing' then
        return holder;
      else
        update pgq.tasks as t
        set task = enqueue_keyed.task, payload = enqueue_keyed.payload, priority = enqueue_keyed.priority,
            scheduled_at = enqueue_keyed.due, max_attempts = coalesce(enqueue_keyed.max_attempts, lane.max_attempts),
            timeout = coalesce(enqueue_keyed.timeout, lane.timeout), limit_keys = enqueue_keyed.limit_keys,
            weight = enqueue_keyed.weight, attempts = 0, crashes = 0, bounces = 0, throttled_by = null, last_error = null,
            traceback = null, started_at = null, worker_id = null, created_at = clock_timestamp(), trace = enqueue_keyed.trace
        where t.queue = enqueue_keyed.queue and t.id = holder and t.status = 'pending';
        if found then
          perform pgq.ring(lane.name, lane.bell);
          return holder;
        end if;
        -- The holder already runs with the old payload: the new task takes the key over and runs after it.
        update pgq.unique_keys as k set task_id = new_id
        where k.queue = enqueue_keyed.queue and k.key = enqueue_keyed.unique_key and k.task_id = holder;
        exit when found;
    end case;
  end loop;

  insert into pgq.tasks (id, queue, task, payload, priority, scheduled_at, max_attempts, timeout, unique_key,
                         limit_keys, weight, trace)
  values (new_id, enqueue_keyed.queue, enqueue_keyed.task, enqueue_keyed.payload, enqueue_keyed.priority, enqueue_keyed.due,
          coalesce(enqueue_keyed.max_attempts, lane.max_attempts), coalesce(enqueue_keyed.timeout, lane.timeout),
          enqueue_keyed.unique_key, enqueue_keyed.limit_keys, enqueue_keyed.weight, enqueue_keyed.trace);
  perform pgq.ring(lane.name, lane.bell);
  return new_id;
end
$$;

create or replace function pgq.enqueue(
  queue        text,
  task         text,
  payload      text             default '{}',
  priority     integer          default 5,
  delay        interval         default null,
  scheduled_at timestamptz      default null,
  max_attempts integer          default null,
  timeout      double precision default null,
  unique_key   text             default null,
  on_conflict  text             default 'raise',
  limit_keys   text[]           default null,
  weight       integer          default null,
  trace        text             default null
) returns bigint
language plpgsql
set search_path = pg_catalog, pgq, pg_temp
as $$
#variable_conflict use_column
declare
  lane   pgq.queues;
  new_id bigint;
  body   json        := pgq.check_payload(coalesce(enqueue.payload, '{}'));
  keys   text[]      := case when enqueue.limit_keys is not null or enqueue.weight is not null
                             then pgq.check_limit_keys(enqueue.limit_keys, enqueue.weight) end;
  units  integer     := nullif(enqueue.weight, 1);
  due    timestamptz := pgq.due_time(enqueue.scheduled_at, enqueue.delay);
begin
  select * into lane from pgq.queues where name = enqueue.queue;
  if not found then
    raise exception using errcode = 'PQ001', message = format('unknown queue %L', left(enqueue.queue, 100)),
      hint = 'Declare it in code and run: pgq queues sync module:app';
  end if;
  perform pgq.check_option(length(enqueue.task) between 1 and 200,
    format('task must be 1 to 200 characters, got %s', coalesce(length(enqueue.task)::text, 'null'))),
    pgq.check_option(enqueue.priority between 0 and 10,
    format('priority must be 0 to 10, got %s', coalesce(enqueue.priority::text, 'null'))),
    pgq.check_option(enqueue.delay is null or enqueue.scheduled_at is null,
    'give delay or scheduled_at, not both'),
    pgq.check_option(coalesce(enqueue.max_attempts, 1) >= 1,
    format('max_attempts must be at least 1, got %s', enqueue.max_attempts)),
    pgq.check_option(coalesce(enqueue.timeout, 1) > 0 and coalesce(enqueue.timeout, 1) <= 1e9,
    format('timeout must be above 0 seconds, got %s', enqueue.timeout)),
    pgq.check_option(coalesce(length(enqueue.unique_key), 1) between 1 and 500,
    format('unique_key must be 1 to 500 characters, got %s', length(enqueue.unique_key))),
    pgq.check_option(enqueue.on_conflict in ('raise', 'skip', 'replace', 'return_existing'),
    format('on_conflict must be raise, skip, replace or return_existing, got %L', left(enqueue.on_conflict, 80))),
    pgq.check_option(enqueue.trace is null or enqueue.trace ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$',
    format('trace must be a W3C traceparent, got %L', left(enqueue.trace, 80)));

  if enqueue.unique_key is not null then
    return pgq.enqueue_keyed(enqueue.queue, enqueue.task, body, enqueue.priority, due, enqueue.max_attempts,
                             enqueue.timeout, enqueue.unique_key, enqueue.on_conflict, keys, units, enqueue.trace);
  end if;
  insert into pgq.tasks (queue, task, payload, priority, scheduled_at, max_attempts, timeout, limit_keys, weight, trace)
  values (enqueue.queue, enqueue.task, body, enqueue.priority, due, coalesce(enqueue.max_attempts, lane.max_attempts),
          coalesce(enqueue.timeout, lane.timeout), keys, units, enqueue.trace)
  returning id into new_id;
  perform pgq.ring(lane.name, lane.bell);
  return new_id;
end
$$;

create or replace function pgq.enqueue(
  queue        text,
  task         text,
  payload      jsonb,
  priority     integer          default 5,
  delay        interval         default null,
  scheduled_at timestamptz      default null,
  max_attempts integer          default null,
  timeout      double precision default null,
  unique_key   text             default null,
  on_conflict  text             default 'raise',
  limit_keys   text[]           default null,
  weight       integer          default null,
  trace        text             default null
) returns bigint
language sql
begin atomic
  select pgq.enqueue(queue, task, payload::text, priority, delay, scheduled_at, max_attempts, timeout,
                     unique_key, on_conflict, limit_keys, weight, trace);
end;

create or replace function pgq.enqueue(
  queue        text,
  task         text,
  payload      json,
  priority     integer          default 5,
  delay        interval         default null,
  scheduled_at timestamptz      default null,
  max_attempts integer          default null,
  timeout      double precision default null,
  unique_key   text             default null,
  on_conflict  text             default 'raise',
  limit_keys   text[]           default null,
  weight       integer          default null,
  trace        text             default null
) returns bigint
language sql
begin atomic
  select pgq.enqueue(queue, task, payload::text, priority, delay, scheduled_at, max_attempts, timeout,
                     unique_key, on_conflict, limit_keys, weight, trace);
end;

-- Add one task per payload in one statement; returns their ids in the order of the payloads.
create or replace function pgq.enqueue_many(
  queue        text,
  task         text,
  payloads     jsonb[],
  priority     integer          default 5,
  delay        interval         default null,
  scheduled_at timestamptz      default null,
  max_attempts integer          default null,
  timeout      double precision default null,
  limit_keys   text[]           default null,
  weight       integer          default null,
  trace        text             default null
) returns setof bigint
language sql
begin atomic
  select pgq.enqueue(queue, task, p.payload::text, priority, delay, scheduled_at, max_attempts, timeout,
                     limit_keys => limit_keys, weight => weight, trace => trace)
  from unnest(payloads) with ordinality as p (payload, place)
  order by p.place;
end;
