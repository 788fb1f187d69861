-- clock: the database's time, the only one that counts.
-- rows:  one: now
select clock_timestamp() as now
