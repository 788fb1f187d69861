-- doze: ask for the bell of one queue, to sleep until it rings.
-- rows:  one: 'holder' (we hold it), 'follower' (another sleeper holds it), 'busy' (an enqueue is in flight)
select case
  when pg_try_advisory_lock(7366513, %(bell)s) then 'holder'
  when not pg_try_advisory_lock_shared(7366513, %(bell)s) then 'follower'
  when pg_advisory_unlock_shared(7366513, %(bell)s) then 'busy'
end as state
