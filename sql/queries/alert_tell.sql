-- alert_tell: write one note for each target of a rule, with the task that delivers it, and remember what was told.
-- index: alerts primary key
-- rows:  the ids of the tasks
with told as (
  update pgq.alerts
  set
    told_at = coalesce(told_at, clock_timestamp()),
    recovery_told_at = case when recovered_at is not null then clock_timestamp() end
  where id = any(%(ids)s::bigint[])
  returning id
),
note as (
  insert into pgq.alert_notes (rule, target, body)
  select %(rule)s, t.name, %(body)s::jsonb
  from pgq.alert_targets as t
  where (%(targets)s::text[] is null or t.name = any(%(targets)s::text[]))
  returning id
)
select pgq.enqueue(%(queue)s, %(task)s, json_build_object('note', note.id)::text) as task_id
from note
