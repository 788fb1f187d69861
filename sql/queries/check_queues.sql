-- check_queues: what a monitor compares with its thresholds, for some or all (null) queues.
-- index: see pgq.queue_stats
-- rows:  queue, paused, oldest_due_age, dead
select s.queue, s.paused, s.oldest_due_age, s.dead
from pgq.queue_stats as s
where %(queues)s::text[] is null
  or s.queue = any(%(queues)s::text[])
order by s.queue
