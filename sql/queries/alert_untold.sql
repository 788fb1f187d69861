-- alert_untold: what of a rule nobody was told yet; nothing while there were too many notes lately.
-- The transaction time stands for a note, whatever number of targets it goes to.
-- index: alerts_untold, alert_notes_created
-- rows:  Alert
select a.id, a.key, a.message, a.fired_at, a.recovered_at
from pgq.alerts as a
where a.rule = %(rule)s
  and (a.told_at is null or (a.recovered_at is not null and a.recovery_told_at is null))
  and (
    select count(distinct n.created_at) filter (where n.rule = %(rule)s) < %(per_rule)s
       and count(distinct (n.rule, n.created_at)) < %(in_all)s
    from pgq.alert_notes as n
    where n.created_at > transaction_timestamp() - %(window)s * interval '1 second'
  )
order by a.fired_at, a.key
