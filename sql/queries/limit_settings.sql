-- limit_settings: the kinds of limit keys, and what each key of a kind may do, as they are now.
-- index: none; there are few
-- rows:  name, rate_max, rate_per, concurrency
select name, rate_max, rate_per, concurrency
from pgq.limits
order by name
