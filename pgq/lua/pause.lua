-- pause: let nothing start under these limits for a while; a longer pause that is on already stays.
-- KEYS     window, running, book of each limit
-- ARGV     now ('': the server's clock), ttl of a hold, how long, then of each limit: max, per, slack, slots
-- returns  the microseconds until the last of the pauses ends
local now, ttl = clock(ARGV[1]), tonumber(ARGV[2])
local last = 0
for i = 1, #KEYS / 3 do
  local limit = limit_at(3 * i - 2, 4 * i)
  refresh(limit, now)
  limit.pause = math.max(limit.pause, now + tonumber(ARGV[3]))
  redis.call('HSET', limit.book, 'until', exact(limit.pause))
  last = math.max(last, limit.pause - now)
  tidy(limit, now, ttl)
end
return last
