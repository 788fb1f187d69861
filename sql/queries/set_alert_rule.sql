-- set_alert_rule: write a rule, new or in place of the one of its name.
-- index: alert_rules primary key
-- rows:  the name
insert into pgq.alert_rules (name, query, targets)
values (%(name)s, %(query)s, %(targets)s)
on conflict (name) do update
set
  query = excluded.query,
  targets = excluded.targets,
  ran_at = null,
  took = 0,
  error = null
returning name
