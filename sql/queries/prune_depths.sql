-- prune_depths: forget samples that no rate needs any more.
-- index: none; the table is small because this runs
-- rows:  one: how many went
with old as (
  delete from pgq.depths
  where seen_at < clock_timestamp() - interval '65 minutes'
  returning queue
)
select count(*) as forgotten
from old
