-- unregister: take workers that ended out of the table; whatever they still hold is given back at the next recovery.
-- index: workers primary key, or a scan of this small table by name
-- rows:  the ids
delete from pgq.workers
where id = %(id)s
  or name = %(name)s
returning id
