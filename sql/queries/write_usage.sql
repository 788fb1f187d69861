-- write_usage: write down where upkeep saw limits; `waits` are the seconds until a start, null where it is free or
-- where nobody knows.
-- index: limit_usage primary key
-- rows:  the names
insert into pgq.limit_usage (name, used, running, free_at, denied, seen_at)
select
  s.name,
  s.used,
  s.running,
  clock_timestamp() + s.wait * interval '1 second',
  s.denied,
  clock_timestamp()
from unnest(
  %(names)s::text[], %(used)s::integer[], %(running)s::integer[], %(waits)s::double precision[], %(denied)s::bigint[]
) as s (name, used, running, wait, denied)
order by s.name
on conflict (name) do update
set
  used = excluded.used,
  running = excluded.running,
  free_at = excluded.free_at,
  denied = excluded.denied,
  seen_at = excluded.seen_at
returning name
