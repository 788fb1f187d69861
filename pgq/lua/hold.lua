-- hold: write down what is held, whatever the limits say: the holders' renewal, and after a loss of memory what
-- Postgres knows of tasks that run.
-- KEYS     born, memory, then window, running, book of each limit
-- ARGV     now ('': the server's clock), ttl of a hold, then what makes the memory complete, so that permits may be given
--          again: its name, as `begin` told it ('1': whatever its name is, '': nothing); then of each limit: max, per,
--          slack, slots;
--          then of each permit: number of the limit from 1, permit, units ('': leave the window alone), running
-- returns  how many permits were not held before; -1 where the memory has another name by now
local now, ttl = clock(ARGV[1]), tonumber(ARGV[2])
local limits, cursor = {}, 4
for i = 1, (#KEYS - 2) / 3 do
  limits[i] = limit_at(3 * i, cursor)
  cursor = cursor + 4
  refresh(limits[i], now)
end
local added = 0
for i = cursor, #ARGV, 4 do
  local limit, permit, units, count = limits[tonumber(ARGV[i])], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  if not redis.call('ZSCORE', limit.running, permit) then
    added = added + 1
  end
  if units and redis.call('ZSCORE', limit.window, permit) then
    units = nil
  end
  hold(limit, permit, units or 0, count, now, ttl)
end
for _, limit in ipairs(limits) do
  tidy(limit, now, ttl)
end
if ARGV[3] == '1' or ARGV[3] ~= '' and redis.call('GET', KEYS[2]) == ARGV[3] then
  redis.call('SET', KEYS[1], exact(now))
elseif ARGV[3] ~= '' then
  return -1
end
return added
