-- count_in_audit: add to what one entry says it changed.
-- index: audit primary key
-- rows:  the entry's id
update pgq.audit
set count = count + %(count)s
where id = %(id)s
returning id
