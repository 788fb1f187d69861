-- declare_limit: write what code declares of a kind of limit keys; only where the declaration changed since it was last
-- seen, so that a limit changed by hand stays until somebody changes the code.
-- index: limits primary key
-- rows:  the name after the word limit, when something was written
insert into pgq.limits as l (name, rate_max, rate_per, concurrency, declared)
select %(name)s, d.rate_max, d.rate_per, d.concurrency, %(declared)s::text::jsonb
from jsonb_populate_record(null::pgq.limits, %(declared)s::text::jsonb) as d
on conflict (name) do update
set
  rate_max = excluded.rate_max,
  rate_per = excluded.rate_per,
  concurrency = excluded.concurrency,
  declared = excluded.declared,
  updated_at = clock_timestamp()
where l.declared is distinct from excluded.declared
returning 'limit ' || name as declared_anew
