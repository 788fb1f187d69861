-- last_id: the last id that was given to a task; null where that may not be known.
-- index: none
-- rows:  one: the id
select pgq.ids_given() as id
