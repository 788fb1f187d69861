-- alert_found: what a look of a rule found is firing; what it did not find any more has recovered.
-- index: alerts_firing
-- rows:  one: how many fired, how many recovered
with recovered as (
  update pgq.alerts
  set recovered_at = clock_timestamp()
  where rule = %(rule)s
    and recovered_at is null
    and not key = any(%(keys)s::text[])
  returning id
),
fired as (
  insert into pgq.alerts (rule, key, message)
  select %(rule)s, f.key, f.message
  from unnest(%(keys)s::text[], %(messages)s::text[]) as f (key, message)
  on conflict (rule, key) where recovered_at is null do nothing
  returning id
)
select (select count(*) from fired) as fired, (select count(*) from recovered) as recovered
