-- lock_limit: what each key of one kind may do, locked against others who would change it.
-- index: limits primary key
-- rows:  rate_max, rate_per, concurrency, or none
select rate_max, rate_per, concurrency
from pgq.limits
where name = %(name)s
for no key update
