-- begin: the name of this server's memory, for whoever is about to tell it what runs. The name goes with the memory.
-- KEYS     memory
-- ARGV     a name for it where it has none
-- returns  its name
-- To tell takes a while. Where the server forgets again meanwhile, part of what it was told is gone, and so is what it
-- had granted since: `hold` believes that it knows all only under the name with which the telling began.
local name = redis.call('GET', KEYS[1])
if not name then
  name = ARGV[1]
  redis.call('SET', KEYS[1], name)
end
return name
