-- remove_alert_rule: take a rule out; what it had found has ended, untold.
-- index: alert_rules primary key, alerts_firing
-- rows:  the name; none when there is no such rule
with ended as (
  update pgq.alerts
  set
    recovered_at = clock_timestamp(),
    told_at = coalesce(told_at, clock_timestamp()),
    recovery_told_at = clock_timestamp()
  where rule = %(name)s
    and recovered_at is null
  returning id
)
delete from pgq.alert_rules
where name = %(name)s
returning name
