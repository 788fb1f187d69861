-- set_limit: write what each key of one kind may do, by hand; what its code declared stays on record.
-- index: limits primary key
-- rows:  the name
insert into pgq.limits (name, rate_max, rate_per, concurrency)
values (%(name)s, %(rate_max)s, %(rate_per)s, %(concurrency)s)
on conflict (name) do update
set
  rate_max = excluded.rate_max,
  rate_per = excluded.rate_per,
  concurrency = excluded.concurrency,
  updated_at = clock_timestamp()
returning name
