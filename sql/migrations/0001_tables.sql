-- pgq, the tables. A task is one row of pgq.tasks, from enqueue to the end of its retention.
--
--   enqueue ──> pending ──claim──> processing ──settle──> completed
--                  ^                   │
--                  ├── retry, snooze ──┤ failed attempt, or the worker died: back, later
--                  │                   ├──> dead       out of attempts; waits for `pgq dead replay`
--                  │                   ├──> failed     the same, in a queue that keeps no dead letters
--                  └── retry by hand   └──> cancelled
--
-- pgq.tasks is partitioned by due time: a claim never reads what is due on a later day, old days drain by
-- themselves, and a day whose tasks all ended is dropped whole, never vacuumed row by row.
-- The lease is the fence: a claim writes a fresh random one, and every later change must present it.
-- Lock order, everywhere: tasks by (scheduled_at, id), then unique_keys, then counts.
-- No foreign key points at tasks. `queue` is last in the primary key so that the table can be distributed by it.

create type pgq.status as enum ('pending', 'processing', 'completed', 'failed', 'dead', 'cancelled');

create sequence pgq.task_id as bigint;

create table pgq.tasks (
  id               bigint           not null default nextval('pgq.task_id'),
  scheduled_at     timestamptz      not null default clock_timestamp(),
  created_at       timestamptz      not null default clock_timestamp(),
  started_at       timestamptz,
  completed_at     timestamptz,
  worker_id        bigint,
  timeout          double precision not null check (timeout > 0 and timeout <= 1e9),
  attempts         integer          not null default 0 check (attempts >= 0),
  max_attempts     integer          not null check (max_attempts > 0),
  status           pgq.status       not null default 'pending',
  priority         smallint         not null default 5 check (priority between 0 and 10),
  crashes          smallint         not null default 0,
  bounces          smallint         not null default 0,
  cancel_requested boolean          not null default false,
  weight           integer          check (weight > 0),
  lease            uuid,
  queue            text             not null,
  task             text             not null,
  payload          json             not null default '{}',
  unique_key       text,
  limit_keys       text[],
  throttled_by     text,
  last_error       text,
  traceback        text,
  primary key (id, scheduled_at, queue)
) partition by range (scheduled_at);

create index tasks_claim on pgq.tasks (queue, priority, scheduled_at, id) where status = 'pending';
create index tasks_processing on pgq.tasks (queue, started_at) where status = 'processing';
create index tasks_dead on pgq.tasks (queue, completed_at) where status in ('dead', 'failed');

comment on table pgq.tasks is 'One row a task, partitioned by the day it is due (UTC).';
comment on column pgq.tasks.id is 'From one sequence; never reused.';
comment on column pgq.tasks.scheduled_at is 'Due time. Moves forward with each retry.';
comment on column pgq.tasks.timeout is 'Seconds an attempt may take.';
comment on column pgq.tasks.attempts is 'Attempts begun; counted by the claim.';
comment on column pgq.tasks.priority is '0 is most urgent, 10 least.';
comment on column pgq.tasks.crashes is 'How many times the process that held this task died.';
comment on column pgq.tasks.bounces is 'How often a limit of its keys sent this task back; spends no attempt.';
comment on column pgq.tasks.weight is 'Units it takes of each limit; null is one.';
comment on column pgq.tasks.limit_keys is 'The limits it is under beside its queue''s, each as kind:key.';
comment on column pgq.tasks.throttled_by is 'The limit that sent it back last.';
comment on column pgq.tasks.cancel_requested is 'Set by pgq.cancel while the task is being processed.';
comment on column pgq.tasks.lease is 'Random token of the current claim; null when nobody holds the task.';
comment on column pgq.tasks.payload is 'Keyword arguments of the handler, kept as written.';
comment on column pgq.tasks.last_error is 'What ended the latest failed attempt, one line.';
comment on column pgq.tasks.traceback is 'Where it was raised.';

create table pgq.partitions (
  name      text primary key,
  starts_at timestamptz not null,
  ends_at   timestamptz not null,
  sealed_at timestamptz
);
comment on table pgq.partitions is 'The days of pgq.tasks; a sealed day holds nothing pending or processing.';

create table pgq.queues (
  name            text             primary key check (name ~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$' and length(name) <= 100),
  bell            integer          generated always as identity unique,
  concurrency     integer          check (concurrency > 0),
  rate_max        integer          check (rate_max > 0),
  rate_per        double precision check (rate_per > 0 and rate_per <= 1e9),
  timeout         double precision not null default 60 check (timeout > 0 and timeout <= 1e9),
  max_attempts    integer          not null default 5 check (max_attempts > 0),
  backoff         text             not null default 'exponential' check (backoff in ('fixed', 'exponential')),
  delay           double precision not null default 5 check (delay between 0 and 1e9),
  max_delay       double precision not null default 86400 check (max_delay between 0 and 1e9),
  jitter          double precision not null default 0 check (jitter between 0 and 1),
  keep_dead       boolean          not null default true,
  retention       double precision not null default 604800 check (retention between 0 and 1e9),
  on_limiter_down text             not null default 'wait' check (on_limiter_down in ('wait', 'run')),
  paused_at       timestamptz,
  declared        jsonb,
  created_at      timestamptz      not null default clock_timestamp(),
  updated_at      timestamptz      not null default clock_timestamp(),
  check ((rate_max is null) = (rate_per is null))
);
comment on table pgq.queues is 'Settings of each queue: the truth, changed live. Code declares them, `pgq queues sync` writes them.';
comment on column pgq.queues.bell is 'Second half of the advisory lock that idle workers hold (see the doorbell).';
comment on column pgq.queues.concurrency is 'Tasks of this queue that run at once, over all workers; null: no limit.';
comment on column pgq.queues.rate_max is 'Starts in any rate_per seconds, over all workers; null: no limit.';
comment on column pgq.queues.on_limiter_down is 'What its tasks do while Redis is away: wait, or run as if there were no limit.';
comment on column pgq.queues.timeout is 'Seconds an attempt may take, unless the task says otherwise.';
comment on column pgq.queues.delay is 'Seconds before the first retry.';
comment on column pgq.queues.max_delay is 'Seconds no retry delay exceeds.';
comment on column pgq.queues.jitter is 'Share of the delay, 0 to 1, that is added at random.';
comment on column pgq.queues.keep_dead is 'Whether tasks out of attempts are kept for replay (dead) or just recorded (failed).';
comment on column pgq.queues.retention is 'Seconds ended tasks are kept after their day is sealed; 0 deletes a task as it completes.';
comment on column pgq.queues.paused_at is 'Set while the queue is paused: nothing is claimed, enqueueing goes on.';
comment on column pgq.queues.declared is 'The declaration last seen in code; a worker applies it again only when it changed.';

create table pgq.limits (
  name        text             primary key check (name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' and length(name) <= 100 and name <> 'queue'),
  rate_max    integer          check (rate_max > 0),
  rate_per    double precision check (rate_per > 0 and rate_per <= 1e9),
  concurrency integer          check (concurrency > 0),
  declared    jsonb,
  created_at  timestamptz      not null default clock_timestamp(),
  updated_at  timestamptz      not null default clock_timestamp(),
  check ((rate_max is null) = (rate_per is null))
);
comment on table pgq.limits is 'Kinds of limit keys, and what each key of a kind may do: the truth, changed live.';
comment on column pgq.limits.rate_max is 'Units that tasks of one key may take in any rate_per seconds; null: no limit.';
comment on column pgq.limits.concurrency is 'Tasks of one key that run at once; null: no limit.';
comment on column pgq.limits.declared is 'The declaration last seen in code; a worker applies it again only when it changed.';

create table pgq.limit_usage (
  name        text        primary key,
  used        integer     not null,
  running     integer     not null,
  free_at     timestamptz,
  denied      bigint      not null default 0,
  seen_at     timestamptz not null default clock_timestamp()
) with (fillfactor = 50);
comment on table pgq.limit_usage is 'What upkeep last saw of each limit in Redis: queue:<name>, or a limit key.';
comment on column pgq.limit_usage.used is 'Units in the window.';
comment on column pgq.limit_usage.running is 'Tasks running.';
comment on column pgq.limit_usage.free_at is 'When something may start again; null: now, or when a task ends.';
comment on column pgq.limit_usage.denied is 'Tasks sent back by this key since it was last quiet for a day.';

create table pgq.workers (
  id           bigint           generated always as identity primary key,
  name         text             not null,
  host         text             not null,
  pid          integer          not null,
  queues       text[]           not null,
  concurrency  integer          not null,
  version      text             not null,
  lease        double precision not null check (lease > 0 and lease <= 1e9),
  running      integer          not null default 0,
  stopping     boolean          not null default false,
  started_at   timestamptz      not null default clock_timestamp(),
  heartbeat_at timestamptz      not null default clock_timestamp()
) with (fillfactor = 50);
comment on table pgq.workers is 'One row a live worker process. A row is never used twice: a restarted worker is a new one.';
comment on column pgq.workers.lease is 'Seconds of silence after which the worker counts as dead and its tasks are given back.';

create table pgq.upkeep (
  step   text        primary key,
  ran_at timestamptz not null default '-infinity'
);
insert into pgq.upkeep (step) values ('recover'), ('make partitions'), ('seal partitions'), ('drop partitions'), ('roll up'),
  ('watch limits');
comment on table pgq.upkeep is 'The periodic work of the workers: whoever locks a step that is due does it.';
comment on column pgq.upkeep.ran_at is 'When the step was last done.';

create table pgq.unique_keys (
  queue   text   not null,
  key     text   not null check (length(key) between 1 and 500),
  task_id bigint not null,
  primary key (queue, key)
);
comment on table pgq.unique_keys is 'Who holds a unique key, from enqueue until the task ends.';

create table pgq.counts (
  queue     text        not null,
  minute    timestamptz not null,
  completed bigint      not null default 0,
  failed    bigint      not null default 0,
  dead      bigint      not null default 0,
  cancelled bigint      not null default 0,
  retried   bigint      not null default 0
);
create index counts_queue_minute on pgq.counts (queue, minute);
comment on table pgq.counts is 'What ended, per queue and minute. Appended by settle, rolled up by upkeep.';
comment on column pgq.counts.retried is 'Failed attempts that will be tried again.';
