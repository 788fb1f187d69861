-- queue_up: note how far ahead tasks of one limit have been sent, so that the next ones are told to come after them.
-- KEYS     window, running, book
-- ARGV     now ('': the server's clock), ttl of a hold, max, per, slack, slots, then a priority and the microseconds
--          until the last task of that priority, and so on
-- returns  the microseconds until the last of all that were sent away is due; 0 when nobody is away
-- Never brings anybody forward; it reserves nothing.
local now, ttl = clock(ARGV[1]), tonumber(ARGV[2])
local limit = limit_at(1, 3)
refresh(limit, now)
for i = 7, #ARGV, 2 do
  local tail = now + tonumber(ARGV[i + 1])
  if tail > noted(limit, 't' .. ARGV[i]) then
    redis.call('HSET', limit.book, 't' .. ARGV[i], exact(tail))
    limit.turns = math.max(limit.turns, tail)
  end
end
local last = 0
for priority = 0, 10 do
  last = math.max(last, noted(limit, 't' .. priority) - now)
end
tidy(limit, now, ttl)
return last
