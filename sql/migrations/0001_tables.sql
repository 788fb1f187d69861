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
  suspect          boolean          not null default false,
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
  trace            text,
  primary key (id, scheduled_at, queue)
) partition by range (scheduled_at);

create index tasks_claim on pgq.tasks (queue, priority, scheduled_at, id) where status = 'pending';
create index tasks_processing on pgq.tasks (queue, started_at) where status = 'processing';
create index tasks_dead on pgq.tasks (queue, completed_at) where status in ('dead', 'failed');

comment on table pgq.tasks is 'One row a task, partitioned by the day it is due (UTC).';
comment on column pgq.tasks.created_at is 'When it was enqueued.';
comment on column pgq.tasks.started_at is 'When its last attempt was claimed.';
comment on column pgq.tasks.completed_at is 'When it ended; null while it has not.';
comment on column pgq.tasks.worker_id is 'The worker that has or had it last.';
comment on column pgq.tasks.max_attempts is 'Attempts it may take before it is dead.';
comment on column pgq.tasks.status is 'pending, processing, completed, failed, dead or cancelled.';
comment on column pgq.tasks.queue is 'Its queue.';
comment on column pgq.tasks.task is 'Its name: which handler runs it.';
comment on column pgq.tasks.unique_key is 'The key that it holds until it ends; null: none.';
comment on column pgq.tasks.id is 'From one sequence; never reused.';
comment on column pgq.tasks.scheduled_at is 'Due time. Moves forward with each retry.';
comment on column pgq.tasks.timeout is 'Seconds an attempt may take.';
comment on column pgq.tasks.attempts is 'Attempts begun; counted by the claim.';
comment on column pgq.tasks.priority is '0 is most urgent, 10 least.';
comment on column pgq.tasks.crashes is 'How many times the worker that held this task died, or let its last attempt wait past its timeout.';
comment on column pgq.tasks.suspect is 'Its last attempt has begun where it can harm its worker: should that be lost, this attempt is spent.';
comment on column pgq.tasks.bounces is 'How often a limit of its keys sent this task back; spends no attempt.';
comment on column pgq.tasks.weight is 'Units it takes of each limit; null is one.';
comment on column pgq.tasks.limit_keys is 'The limits it is under beside its queue''s, each as kind:key.';
comment on column pgq.tasks.throttled_by is 'The limit that sent it back last.';
comment on column pgq.tasks.cancel_requested is 'Set by pgq.cancel while the task is being processed.';
comment on column pgq.tasks.lease is 'Random token of the current claim; null when nobody holds the task.';
comment on column pgq.tasks.payload is 'Keyword arguments of the handler, kept as written.';
comment on column pgq.tasks.last_error is 'What ended the latest failed attempt, one line.';
comment on column pgq.tasks.traceback is 'Where it was raised.';
comment on column pgq.tasks.trace is 'W3C traceparent of the span that enqueued it; null without tracing.';

create table pgq.partitions (
  name      text primary key,
  starts_at timestamptz not null,
  ends_at   timestamptz not null,
  sealed_at timestamptz
);
comment on table pgq.partitions is 'The days of pgq.tasks; a sealed day holds nothing pending or processing.';
comment on column pgq.partitions.name is 'The table, in schema pgq.';
comment on column pgq.partitions.starts_at is 'Tasks due from here on lie in it.';
comment on column pgq.partitions.ends_at is 'Tasks due before here lie in it.';
comment on column pgq.partitions.sealed_at is 'When it was found to hold nothing pending or processing; null: not yet.';

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
comment on column pgq.queues.name is 'What tasks name.';
comment on column pgq.queues.rate_per is 'Seconds of the window of rate_max.';
comment on column pgq.queues.max_attempts is 'Attempts of a task, unless the task says otherwise.';
comment on column pgq.queues.backoff is 'fixed, or exponential: the delay doubles with each attempt.';
comment on column pgq.queues.created_at is 'When it was declared first.';
comment on column pgq.queues.updated_at is 'When a setting changed last.';
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
comment on column pgq.limits.name is 'The kind: what stands before the colon in keys of tasks.';
comment on column pgq.limits.rate_per is 'Seconds of the window of rate_max.';
comment on column pgq.limits.created_at is 'When it was declared first.';
comment on column pgq.limits.updated_at is 'When a setting changed last.';
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
comment on column pgq.limit_usage.name is 'queue:<name>, or the limit key.';
comment on column pgq.limit_usage.seen_at is 'When upkeep saw it.';
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
  supervisor   text,
  scale        text,
  started_at   timestamptz      not null default clock_timestamp(),
  heartbeat_at timestamptz      not null default clock_timestamp(),
  tasks        text[]
) with (fillfactor = 50);
comment on table pgq.workers is 'One row a live worker process. A row is never used twice: a restarted worker is a new one.';
comment on column pgq.workers.id is 'Of one life of a process.';
comment on column pgq.workers.name is 'What it is called; host and process id unless it was given a name.';
comment on column pgq.workers.host is 'The host it runs on.';
comment on column pgq.workers.pid is 'Its process id there.';
comment on column pgq.workers.queues is 'The queues it serves.';
comment on column pgq.workers.concurrency is 'Its slots: tasks it runs at once.';
comment on column pgq.workers.version is 'Its version of pgq.';
comment on column pgq.workers.running is 'Tasks it held at its last heartbeat.';
comment on column pgq.workers.stopping is 'Whether it was asked to stop.';
comment on column pgq.workers.started_at is 'When it registered.';
comment on column pgq.workers.heartbeat_at is 'When it was heard of last.';
comment on column pgq.workers.tasks is 'Names of the tasks it knows; null: it did not say.';
comment on column pgq.workers.supervisor is 'The parent that started it and replaces it, as host:pid; null without one.';
comment on column pgq.workers.scale is 'How many processes that parent runs: 4, or by need, 2..16.';
comment on column pgq.workers.lease is 'Seconds of silence after which the worker counts as dead and its tasks are given back.';

create table pgq.upkeep (
  step   text        primary key,
  ran_at timestamptz not null default '-infinity'
);
insert into pgq.upkeep (step) values ('recover'), ('make partitions'), ('seal partitions'), ('drop partitions'), ('roll up'),
  ('watch limits'), ('sample queues'), ('prune');
comment on table pgq.upkeep is 'The periodic work of the workers: whoever locks a step that is due does it.';
comment on column pgq.upkeep.step is 'What is done.';
comment on column pgq.upkeep.ran_at is 'When the step was last done.';

create table pgq.unique_keys (
  queue   text   not null,
  key     text   not null check (length(key) between 1 and 500),
  task_id bigint not null,
  primary key (queue, key)
);
comment on table pgq.unique_keys is 'Who holds a unique key, from enqueue until the task ends.';
comment on column pgq.unique_keys.queue is 'The queue in which it is unique.';
comment on column pgq.unique_keys.key is 'The key.';
comment on column pgq.unique_keys.task_id is 'The task that holds it.';

create table pgq.counts (
  queue     text        not null,
  minute    timestamptz not null,
  completed bigint      not null default 0,
  failed    bigint      not null default 0,
  dead      bigint      not null default 0,
  cancelled bigint      not null default 0,
  retried   bigint      not null default 0,
  arrived   bigint,
  depth     bigint,
  wait_p50  double precision,
  wait_p95  double precision,
  run_p50   double precision,
  run_p95   double precision,
  merged    boolean     not null default false
);
-- Two indexes, one row in each at most: appended rows die by the hundred a second, and where a long transaction keeps
-- them, nobody who reads the merged ones walks over them.
create index counts_merged on pgq.counts (queue, minute) where merged;
create index counts_appended on pgq.counts (queue, minute) where not merged;
comment on table pgq.counts is 'What ended, per queue and minute. Appended by settle, merged by upkeep: sum them up.';
comment on column pgq.counts.queue is 'The queue.';
comment on column pgq.counts.minute is 'The minute in which it ended; ten minutes, from three hours ago on.';
comment on column pgq.counts.completed is 'Tasks that completed.';
comment on column pgq.counts.failed is 'Tasks out of attempts, in a queue that keeps no dead letters.';
comment on column pgq.counts.dead is 'Tasks that were dead-lettered.';
comment on column pgq.counts.retried is 'Failed attempts that will be tried again.';
comment on column pgq.counts.cancelled is 'Tasks that were cancelled.';
comment on column pgq.counts.arrived is 'Tasks that arrived; null: not known, or not yet.';
comment on column pgq.counts.depth is 'Tasks that waited or ran at the end of the minute; null: not known, or not yet.';
comment on column pgq.counts.wait_p50 is 'Seconds from being due to the start, median; null: not known, or not yet.';
comment on column pgq.counts.wait_p95 is 'The 95th percentile.';
comment on column pgq.counts.run_p50 is 'Seconds an attempt took, median; null: not known, or not yet.';
comment on column pgq.counts.run_p95 is 'The 95th percentile.';
comment on column pgq.counts.merged is 'Whether upkeep made this row of those that were appended.';

create table pgq.timings (
  queue  text        not null,
  minute timestamptz not null,
  kind   text        not null check (kind in ('wait', 'run')),
  bucket smallint    not null,
  tasks  bigint      not null,
  merged boolean     not null default false
);
create index timings_queue_minute on pgq.timings (queue, minute);
comment on table pgq.timings is 'How long tasks waited and ran, of the last minutes; told by the workers every few seconds.';
comment on column pgq.timings.queue is 'The queue.';
comment on column pgq.timings.minute is 'The minute in which the worker told.';
comment on column pgq.timings.kind is 'wait: from being due to the start; run: from the start to the end of the attempt.';
comment on column pgq.timings.bucket is 'b where b <= 4 x log2(seconds) < b + 1.';
comment on column pgq.timings.tasks is 'How many fell into it, estimated from some where there were many.';
comment on column pgq.timings.merged is 'Whether upkeep made this row of those that were appended.';

create table pgq.depths (
  queue      text             not null,
  seen_at    timestamptz      not null,
  pending    bigint           not null,
  due        bigint           not null,
  throttled  bigint           not null,
  processing bigint           not null,
  oldest     timestamptz,
  floors     timestamptz[]    not null,
  run_floor  timestamptz      not null,
  arrived    bigint           not null,
  ended      bigint           not null,
  origin     timestamptz      not null,
  base       bigint           not null,
  last_id    bigint,
  took       double precision not null,
  primary key (queue, seen_at)
);
comment on table pgq.depths is 'What upkeep counted in each queue, of the last hour; counting takes 1 % of the time, 10 % while it changes.';
comment on column pgq.depths.queue is 'The queue.';
comment on column pgq.depths.seen_at is 'When it was counted.';
comment on column pgq.depths.pending is 'Tasks that waited.';
comment on column pgq.depths.due is 'Those of them that were due.';
comment on column pgq.depths.throttled is 'Those of them that a limit had sent back, and that were not due again yet.';
comment on column pgq.depths.processing is 'Tasks that ran.';
comment on column pgq.depths.oldest is 'When the oldest of those that waited was due.';
comment on column pgq.depths.floors is 'Per priority: nothing that waited was due earlier.';
comment on column pgq.depths.run_floor is 'Nothing that ran had started earlier.';
comment on column pgq.depths.arrived is 'Tasks that arrived since the first sample.';
comment on column pgq.depths.ended is 'Tasks that ended since the first sample.';
comment on column pgq.depths.origin is 'The minute from which on `base` counts.';
comment on column pgq.depths.base is 'Tasks that had ended by the counts from `origin` on.';
comment on column pgq.depths.last_id is 'The last id that had been given to a task, of any queue; null: not known.';
comment on column pgq.depths.took is 'Seconds it took to count.';

create table pgq.attempts (
  task_id    bigint      not null,
  queue      text        not null,
  attempt    integer     not null,
  worker     text,
  started_at timestamptz,
  ended_at   timestamptz not null default clock_timestamp(),
  error      text        not null,
  traceback  text
);
create index attempts_task on pgq.attempts (task_id, attempt);
create index attempts_queue_ended on pgq.attempts (queue, ended_at);
comment on table pgq.attempts is 'Failed attempts, the last twenty of a task, kept for the retention of its queue.';
comment on column pgq.attempts.task_id is 'The task.';
comment on column pgq.attempts.queue is 'Its queue.';
comment on column pgq.attempts.attempt is 'The number of the attempt, from 1; it begins anew when a task is retried by hand.';
comment on column pgq.attempts.worker is 'The name of the worker.';
comment on column pgq.attempts.started_at is 'When it was claimed.';
comment on column pgq.attempts.ended_at is 'When it failed.';
comment on column pgq.attempts.error is 'What ended it, one line.';
comment on column pgq.attempts.traceback is 'Where it was raised.';

create table pgq.audit (
  id     bigint      generated always as identity primary key,
  at     timestamptz not null default clock_timestamp(),
  actor  text        not null,
  action text        not null check (action <> ''),
  queue  text,
  filter jsonb,
  count  bigint      not null default 1 check (count >= 0),
  note   text
);
create index audit_at on pgq.audit (at);
comment on table pgq.audit is 'Who steered what, when; written in the transaction of the change, forgotten after 90 days.';
comment on column pgq.audit.id is 'From one sequence.';
comment on column pgq.audit.at is 'When.';
comment on column pgq.audit.actor is 'user@host of a command, the dashboard''s user, or the database role of plain SQL.';
comment on column pgq.audit.action is 'pause, resume, queues set, limits set, retry, cancel, replay, purge.';
comment on column pgq.audit.queue is 'The queue; null: several, or none.';
comment on column pgq.audit.filter is 'What was chosen: {"ids": [17]} or conditions; or what was changed: {"concurrency": [5, 10]}, from and to.';
comment on column pgq.audit.count is 'How many tasks, or queues, it changed.';
comment on column pgq.audit.note is 'Why, where somebody said.';

create table pgq.totals (
  queue     text   primary key,
  completed bigint not null,
  failed    bigint not null,
  dead      bigint not null,
  cancelled bigint not null,
  retried   bigint not null
);
comment on table pgq.totals is 'All that ever ended and was merged in pgq.counts; pgq.queue_totals adds what was not.';
comment on column pgq.totals.queue is 'The queue.';
comment on column pgq.totals.completed is 'Tasks that completed.';
comment on column pgq.totals.failed is 'Tasks out of attempts, in a queue that keeps no dead letters.';
comment on column pgq.totals.dead is 'Tasks that were dead-lettered.';
comment on column pgq.totals.cancelled is 'Tasks that were cancelled.';
comment on column pgq.totals.retried is 'Failed attempts that were tried again.';
create table pgq.alert_targets (
  name       text        primary key check (name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' and length(name) <= 100),
  kind       text        not null check (kind in ('webhook', 'command', 'mail')),
  settings   jsonb       not null,
  created_at timestamptz not null default clock_timestamp()
);
comment on table pgq.alert_targets is 'Where alerts go. Secrets are not here: settings name environment variables of the workers.';
comment on column pgq.alert_targets.name is 'What rules call it.';
comment on column pgq.alert_targets.kind is 'webhook, command or mail.';
comment on column pgq.alert_targets.settings is 'webhook: url, secret, headers; command: argv; mail: to, from.';
comment on column pgq.alert_targets.created_at is 'When it was added first.';

create table pgq.alert_rules (
  name       text             primary key check (name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' and length(name) <= 100),
  query      text             not null,
  targets    text[],
  ran_at     timestamptz,
  took       double precision not null default 0,
  error      text,
  created_at timestamptz      not null default clock_timestamp()
);
comment on table pgq.alert_rules is 'What raises an alert: the truth, changed live. `pgq worker --alerts` looks at each every few seconds.';
comment on column pgq.alert_rules.name is 'What it is called.';
comment on column pgq.alert_rules.ran_at is 'When it was looked at last.';
comment on column pgq.alert_rules.created_at is 'When it was added first.';
comment on column pgq.alert_rules.query is 'One select; each row is something wrong: its column message says what, key (text, or none) tells it from others.';
comment on column pgq.alert_rules.targets is 'Names in pgq.alert_targets; null: all of them.';
comment on column pgq.alert_rules.took is 'Seconds the last look took. A slow rule is looked at less often.';
comment on column pgq.alert_rules.error is 'Why the last look failed; what it had found before stays as it was.';

create table pgq.alerts (
  id               bigint      generated always as identity primary key,
  rule             text        not null,
  key              text        not null,
  message          text        not null,
  fired_at         timestamptz not null default clock_timestamp(),
  recovered_at     timestamptz,
  told_at          timestamptz,
  recovery_told_at timestamptz
);
create unique index alerts_firing on pgq.alerts (rule, key) where recovered_at is null;
create index alerts_untold on pgq.alerts (rule) where told_at is null or recovery_told_at is null;
comment on table pgq.alerts is 'What rules found: one row from the first look that found it to the first that did not. Kept for 30 days.';
comment on column pgq.alerts.id is 'From one sequence.';
comment on column pgq.alerts.rule is 'The rule that found it.';
comment on column pgq.alerts.key is 'Which of the things that rule may find it is; empty where it tells none apart.';
comment on column pgq.alerts.fired_at is 'When it was found first.';
comment on column pgq.alerts.recovered_at is 'When it was not found any more; null while it is.';
comment on column pgq.alerts.recovery_told_at is 'When the note of its recovery was written.';
comment on column pgq.alerts.message is 'As it was when it fired.';
comment on column pgq.alerts.told_at is 'When its note was written; null: too many notes lately, it waits for the next.';

create table pgq.alert_notes (
  id         uuid        primary key default gen_random_uuid(),
  rule       text        not null,
  target     text        not null,
  body       jsonb       not null,
  created_at timestamptz not null default transaction_timestamp(),
  attempts   integer     not null default 0,
  last_error text,
  sent_at    timestamptz,
  gave_up_at timestamptz
);
create index alert_notes_created on pgq.alert_notes (created_at);
comment on table pgq.alert_notes is 'What was to be told to whom, a task of queue pgq.alerts each. Kept for 30 days.';
comment on column pgq.alert_notes.rule is 'The rule it is of.';
comment on column pgq.alert_notes.target is 'Whom it goes to.';
comment on column pgq.alert_notes.body is 'What it says; `alerts` are the ids in pgq.alerts.';
comment on column pgq.alert_notes.attempts is 'How often delivery was tried.';
comment on column pgq.alert_notes.last_error is 'Why the last try failed; null when it did not.';
comment on column pgq.alert_notes.sent_at is 'When it was delivered.';
comment on column pgq.alert_notes.gave_up_at is 'When the last try had failed.';
comment on column pgq.alert_notes.id is 'Goes with every delivery, and is the same when one is repeated.';
comment on column pgq.alert_notes.created_at is 'The same for all targets that one note goes to.';

-- None of these looks at queue pgq.alerts, so that an alert that cannot be delivered raises none.
insert into pgq.alert_rules (name, query) values
('dead-letters', $$
select q.name as key,
       format('%s new dead letters in queue %s, the last: task %s (%s): %s', d.many, q.name, d.id, d.task, left(d.last_error, 200)) as message
from pgq.queues as q
cross join lateral (
  select count(*) over () as many, id, task, last_error
  from pgq.dead_tasks where queue = q.name and died_at > now() - interval '15 minutes'
  order by died_at desc limit 1
) as d
where q.name <> 'pgq.alerts'
$$),
('health', $$
select name || ' ' || status as key, format('%s (%s): %s', name, status, message) as message
from pgq.health
where status <> 'ok' and name <> 'alerts'
$$),
('oldest-age', $$
select queue as key, format('the oldest due task of queue %s waits for %s s', queue, round(wait)) as message
from pgq.autoscale
where wait > 900 and queue <> 'pgq.alerts'
$$),
('no-worker', $$
select a.queue as key, format('%s tasks wait in queue %s, which no live worker serves', a.backlog, a.queue) as message
from pgq.autoscale as a
join pgq.queue_stats as s on s.queue = a.queue
where a.backlog > 0 and a.wait > 30 and a.slots = 0 and not s.paused and a.queue <> 'pgq.alerts'
$$);
