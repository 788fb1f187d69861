-- alert_ran: how a look of a rule went.
-- index: alert_rules primary key
-- rows:  the rule
update pgq.alert_rules
set
  took = %(took)s,
  error = %(error)s
where name = %(rule)s
returning name
