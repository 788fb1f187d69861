-- look: where limits stand.
-- KEYS     window, running, book of each limit
-- ARGV     now ('': the server's clock), ttl of a hold, then of each limit: max, per, slack, slots
-- returns  for each limit: units in the window, tasks running, microseconds until something may start (0: now,
--          -1: when a task ends), microseconds of the pause that is left
local now, ttl = clock(ARGV[1]), tonumber(ARGV[2])
local answers = {}
for i = 1, #KEYS / 3 do
  local limit = limit_at(3 * i - 2, 4 * i - 1)
  refresh(limit, now)
  local units, slots = room(limit, now)
  local wait = 0
  if limit.pause > now then
    wait = limit.pause - now
  elseif units < 1 then
    wait = math.max(leaves(limit, 1) - now, 1)
  elseif slots < 1 then
    wait = -1
  end
  for _, number in ipairs({ limit.used, limit.busy, wait, math.max(limit.pause - now, 0) }) do
    table.insert(answers, number)
  end
  tidy(limit, now, ttl)
end
return answers
