-- oldest_processing: from when on the next recovery has to look: nothing older is being processed.
-- index: tasks_processing
-- rows:  one: since; ten seconds of margin cover claims that have not committed yet
select coalesce(min(t.started_at), statement_timestamp()) - interval '10 seconds' as since
from pgq.tasks as t
where t.queue = %(queue)s
  and t.status = 'processing'
  and t.started_at >= %(floor)s::timestamptz
