-- report: bring permits of several limits down to what they used and still run; a hold of 0 is let go.
-- KEYS     window, running, book of each limit
-- ARGV     now ('': the server's clock), ttl of a hold, then of each limit: max, per, slack, slots;
--          then of each permit: number of the limit from 1, permit, units, running, how long ago a task of it ended last
--          ('': none did), and how long ago at least all of it had begun ('': perhaps not all has)
-- returns  how many permits it changed
-- Said twice, it changes nothing the second time; it never raises what a permit uses. Of a permit that still runs, units
-- above one for each task that runs are of tasks that have ended.
local now, ttl = clock(ARGV[1]), tonumber(ARGV[2])
local limits, cursor = {}, 3
for i = 1, #KEYS / 3 do
  limits[i] = limit_at(3 * i - 2, cursor)
  cursor = cursor + 4
  refresh(limits[i], now)
end
local changed = 0
for i = cursor, #ARGV, 6 do
  local limit = limits[tonumber(ARGV[i])]
  local used, busy = limit.used, limit.busy
  local units, running = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  report(limit, ARGV[i + 1], units, running, back(now, ARGV[i + 4]), back(now, ARGV[i + 5]))
  if limit.used ~= used or limit.busy ~= busy then
    changed = changed + 1
  end
end
for _, limit in ipairs(limits) do
  tidy(limit, now, ttl)
end
return changed
