-- alert_turn: take the rule that was looked at longest ago, if that is long enough and nobody is at it.
-- A rule that takes long is looked at a tenth of the time at most. Without any target there is nothing to look for.
-- index: alert_rules, all of it: there are few
-- rows:  name, query, targets, when it is ours; the row stays locked until the end of the look
update pgq.alert_rules as r
set ran_at = clock_timestamp()
from (
  select name
  from pgq.alert_rules
  where (ran_at is null or ran_at < clock_timestamp() - greatest(%(every)s, took * 10) * interval '1 second')
    and exists (select 1 from pgq.alert_targets)
  order by ran_at nulls first
  limit 1
  for update skip locked
) as due
where r.name = due.name
returning r.name, r.query, r.targets
