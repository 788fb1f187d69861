-- merge_timings: merge the appended timings of each queue and minute, and forget those of more than ten minutes ago.
-- index: none; the table is small because this runs
-- rows:  queue, minute of each merged row
with old as (
  delete from pgq.timings as t
  where t.minute < statement_timestamp() - interval '10 minutes'
    or (t.queue, t.minute) in (select queue, minute from pgq.timings where not merged)
  returning t.queue, t.minute, t.kind, t.bucket, t.tasks
)
insert into pgq.timings (queue, minute, kind, bucket, tasks, merged)
select queue, minute, kind, bucket, sum(tasks), true
from old
where minute >= statement_timestamp() - interval '10 minutes'
group by queue, minute, kind, bucket
returning queue, minute
