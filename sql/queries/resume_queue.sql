-- resume_queue: let workers claim from one queue again.
-- index: queues primary key
-- rows:  one, without meaning
select pgq.resume(%(queue)s, %(actor)s::text)
