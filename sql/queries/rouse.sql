-- rouse: let go of the bell of one queue; wake the other sleepers unless a ring did that already.
-- rows:  one: whether we held it
select
  pg_advisory_unlock(7366513, %(bell)s) as held,
  case when %(tell)s then pg_notify('pgq', 'ring:' || %(queue)s)::text end as told
