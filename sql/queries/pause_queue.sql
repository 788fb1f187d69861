-- pause_queue: stop claims of one queue.
-- index: queues primary key
-- rows:  one, without meaning
select pgq.pause(%(queue)s, %(actor)s::text)
