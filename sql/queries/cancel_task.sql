-- cancel_task: cancel one task, or ask the worker that runs it to stop.
-- index: primary key, one probe per day
-- rows:  one: cancelled, requested, or the status in which it had ended before
select pgq.cancel(%(id)s, %(actor)s::text) as outcome
