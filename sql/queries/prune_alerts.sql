-- prune_alerts: forget alerts that recovered, and notes that were written, longer ago than they are kept.
-- index: alert_notes_created; alerts, all of it
-- rows:  one: how many alerts, how many notes
with alert as (
  delete from pgq.alerts
  where recovered_at < clock_timestamp() - %(kept)s * interval '1 second'
    and recovery_told_at is not null
  returning id
),
note as (
  delete from pgq.alert_notes
  where created_at < clock_timestamp() - %(kept)s * interval '1 second'
  returning id
)
select (select count(*) from alert) as alerts, (select count(*) from note) as notes
