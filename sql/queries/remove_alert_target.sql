-- remove_alert_target: take a target out, unless a rule names it.
-- index: alert_targets primary key
-- rows:  the name, and how many rules name it; none when there is no such target
with named as (
  select count(*) as rules
  from pgq.alert_rules
  where %(name)s = any(targets)
),
gone as (
  delete from pgq.alert_targets
  where name = %(name)s
    and (select rules from named) = 0
  returning name
)
select t.name, named.rules
from pgq.alert_targets as t
cross join named
where t.name = %(name)s
