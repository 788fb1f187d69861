-- close_queue: tell every worker that nothing of a queue should start for a while; who does not listen is not told.
-- index: none
-- rows:  one, without meaning
select pg_notify('pgq', 'closed:' || %(seconds)s::float8 || ':' || %(queue)s::text)
