-- upkeep_turn: take a step of upkeep if it is due and nobody is at it; the row stays locked until the step's end.
-- What ran in the future ran before the clock was set back: it is due.
-- index: upkeep primary key
-- rows:  the step, when it is ours
update pgq.upkeep as u
set ran_at = clock_timestamp()
from (
  select step
  from pgq.upkeep
  where step = %(step)s
    and ran_at not between clock_timestamp() - %(every)s * interval '1 second' and clock_timestamp() + interval '2 seconds'
  for update skip locked
) as due
where u.step = due.step
returning u.step
