-- take: permits for a queue's next claim: as many of `want` as fit now, all under one id.
-- KEYS     window, running, book, born
-- ARGV     now ('': the server's clock), ttl of a hold, max, per, slack, slots, id, want,
--          then permits to bring up to date first, as `report` does: id, units, running, ended, begun, id, …
-- returns  granted, microseconds until asking again makes sense (-1: when a task ends), what was short:
--          '' (nothing), 'rate', 'concurrency', 'paused', 'forgotten' (this server has lost its memory: say `hold`);
--          and where nothing was, how many more could have been had
-- Asking twice under one id gives the same permits once; they may be used from then on, as if they were new.
local now, ttl, id, want = clock(ARGV[1]), tonumber(ARGV[2]), ARGV[7], tonumber(ARGV[8])
local limit = limit_at(1, 3)
refresh(limit, now)
for i = 9, #ARGV, 5 do
  local units, running = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  report(limit, ARGV[i], units, running, back(now, ARGV[i + 3]), back(now, ARGV[i + 4]))
end
if limit.max and #ARGV > 8 then
  lapse(limit, 'w', now - limit.per - 1, now) -- what ended a whole window ago, and nobody had said so
end

local function taken()
  if redis.call('EXISTS', KEYS[4]) == 0 then
    return { 0, 0, 'forgotten' }
  end
  local before = noted(limit, 'r:' .. id)
  if before > 0 and renewed(limit, id, now) then
    return { before, 0, '' }
  elseif before > 0 then
    drop(limit, 'r', id)
  end
  local units, slots = room(limit, now)
  local granted = math.min(want, units, slots)
  if granted > 0 then
    grant(limit, id, granted, granted, now, ttl)
  end
  if granted == want then
    return { granted, 0, '', math.min(units - granted, slots - granted, 1000000000) }
  elseif limit.pause > now then
    return { granted, limit.pause - now, 'paused' }
  elseif limit.max and limit.used >= limit.max then
    return { granted, math.max(leaves(limit, 1) - now, 1), 'rate' }
  end
  return { granted, -1, 'concurrency' }
end

local answer = taken()
tidy(limit, now, ttl)
return answer
