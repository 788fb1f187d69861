-- upkeep_due: which steps of upkeep are due; a look without a lock, before anybody asks for its turn.
-- index: none, it is a handful of rows
-- rows:  step, in the order given
select due.step
from unnest(%(steps)s::text[], %(every)s::double precision[]) with ordinality as due (step, every, place)
join pgq.upkeep as u on u.step = due.step
where u.ran_at not between clock_timestamp() - due.every * interval '1 second' and clock_timestamp() + interval '2 seconds'
order by due.place
