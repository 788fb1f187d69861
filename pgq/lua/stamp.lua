-- stamp: make permits that were granted a while ago as good as new: their units count from now on.
-- KEYS     window, running, book
-- ARGV     now ('': the server's clock), ttl of a hold, max, per, slack, slots, then permits
-- returns  for each permit 1, or 0 when it is held no more
local now, ttl = clock(ARGV[1]), tonumber(ARGV[2])
local limit = limit_at(1, 3)
refresh(limit, now)
local answers = {}
for i = 7, #ARGV do
  table.insert(answers, renewed(limit, ARGV[i], now) and 1 or 0)
end
tidy(limit, now, ttl)
return answers
