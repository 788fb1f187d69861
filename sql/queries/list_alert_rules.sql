-- list_alert_rules: every rule, and what it finds now; a null name asks for all.
-- index: alert_rules primary key, alerts_firing
-- rows:  RuleRow
select
  r.name, r.targets, (select count(*) from pgq.alerts as a where a.rule = r.name and a.recovered_at is null) as firing,
  r.ran_at, r.took, r.error, r.query
from pgq.alert_rules as r
where (%(name)s::text is null or r.name = %(name)s)
order by r.name
