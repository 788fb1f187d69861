-- publish: keep the current settings of all kinds of keys.
-- KEYS     settings
-- ARGV     kind, its settings as JSON, kind, …
-- returns  how many kinds there are
local kept = {}
for i = 1, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  kept[ARGV[i]] = true
end
for _, kind in ipairs(redis.call('HKEYS', KEYS[1])) do
  if not kept[kind] then
    redis.call('HDEL', KEYS[1], kind)
  end
end
return #ARGV / 2
