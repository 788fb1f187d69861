-- acquire: permits for tasks that are held already, each with all of its limits or with none.
-- KEYS     born, denials, then window, running, book of each limit
-- ARGV     now ('': the server's clock), ttl of a hold, how many limits, then of each: max, per, slack, slots, name;
--          then of each request: permit, units, priority, times it was denied before, how many limits, their numbers
--          from 1. Requests come in the order in which they should start.
-- returns  for each request: 1 and 0; or 0 and the microseconds after which it should come back; or -1 and 0 where a
--          limit is smaller than its units, and the number of the limit that stood in the way (0: none).
--          'forgotten' instead of all that when this server has lost its memory: say `hold`.
-- A request that is denied keeps the later ones of its limits from overtaking it. It is told when its turn should come:
-- the first time behind all that were told before at its priority or a more urgent one; after that, in front of them,
-- but at the k-th denial 2^(k-1) - 1 turns further on (at most 5 s), so that tasks which share a turn do not meet again
-- and again.
-- What it is told reserves nothing. Asking twice under one permit gives it once, as good as new; a permit that only
-- some of its limits still hold is completed, or given back where it is denied.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 'forgotten'
end
local now, ttl, count = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local limits, cursor, refused = {}, 4, false
for i = 1, count do
  limits[i] = limit_at(3 * i, cursor)
  limits[i].name = ARGV[cursor + 4]
  cursor = cursor + 5
  refresh(limits[i], now)
end

-- How long a task is thought to take: as those before, or twice as long as one has taken that runs now.
local function length(limit)
  if limit.took > 0 then
    return limit.took
  end
  local one = redis.call('ZRANGE', limit.running, 0, 0)[1]
  local granted = one and noted(limit, 's:' .. one) or 0
  return math.max(granted > 0 and now - granted or 0, 50000)
end

-- How long after one task the next of this limit may start, and when the first may.
local function pace(limit, units)
  local step, first = 0, math.max(now, limit.pause)
  if limit.max then
    step = (limit.per + limit.slack + 1) * units / limit.max
    first = math.max(first, leaves(limit, units))
  end
  if limit.slots then
    local each = length(limit) / limit.slots
    step = math.max(step, each)
    if limit.busy >= limit.slots then
      first = math.max(first, now + each)
    end
  end
  return math.ceil(step), first
end

-- When the last task of each priority was told to come back.
local function turns(limit)
  if not limit.tails then
    limit.tails = {}
    for i, tail in ipairs(redis.call('HMGET', limit.book, unpack(TAILS))) do
      limit.tails[i - 1] = tonumber(tail or 0)
    end
  end
  return limit.tails
end

local function comes_back(limit, units, priority, denied)
  local step, first = pace(limit, units)
  first = math.max(first, limit.front or 0)
  if denied > 0 then
    limit.front = first + step
    -- Every turn has an owner already: whoever keeps losing its own leaves more and more of them alone, for a while.
    local at = first + math.min(step * (2 ^ (math.min(denied, 8) - 1) - 1), 5000000)
    if denied > 1 and not limit.max then -- nobody knows when a task ends: those who come by to see come together
      local grid = 2 ^ math.floor(math.log(math.min(step / 16, 300000)) / math.log(2))
      at = math.ceil(at / grid) * grid
    end
    limit.turns = math.max(limit.turns, at)
    return at
  end
  local tails = turns(limit)
  for urgent = 0, priority do
    local tail = tails[urgent] or 0
    if tail > now then
      first = math.max(first, tail + step)
    end
  end
  tails[priority] = first
  limit.turns = math.max(limit.turns, first)
  redis.call('HSET', limit.book, 't' .. priority, exact(first))
  return first
end

-- Those of a request's limits that hold its permit already, and those that do not.
local function sorted(permit, own)
  local held, lacking = {}, {}
  for _, number in ipairs(own) do
    local limit = limits[number]
    local before = noted(limit, 'r:' .. permit)
    if before > 0 and renewed(limit, permit, now) then
      table.insert(held, number)
    else
      if before > 0 then
        report(limit, permit, 0, 0, now)
      end
      table.insert(lacking, number)
    end
  end
  return held, lacking
end

-- How long the request must wait for all it lacks, and the number of the limit that makes it wait longest (0: none).
local function obstacle(lacking, units, priority, denied)
  local wait, blocker = 0, 0
  for _, number in ipairs(lacking) do
    local limit = limits[number]
    local free, slots = room(limit, now)
    if limit.blocked or free < units or slots < 1 then
      local at = comes_back(limit, units, priority, denied)
      limit.blocked = true
      if blocker == 0 or at - now > wait then
        wait, blocker = math.max(at - now, 1), number
      end
    end
  end
  return wait, blocker
end

local function decide(permit, units, priority, denied, own)
  local held, lacking = sorted(permit, own)
  for _, number in ipairs(lacking) do
    if limits[number].max and units > limits[number].max then
      return -1, 0, number
    end
  end
  local wait, blocker = obstacle(lacking, units, priority, denied)
  if blocker > 0 then
    for _, number in ipairs(held) do
      report(limits[number], permit, 0, 0, now)
    end
    redis.call('ZINCRBY', KEYS[2], 1, limits[blocker].name)
    refused = true
    return 0, wait, blocker
  end
  for _, number in ipairs(lacking) do
    grant(limits[number], permit, units, 1, now, ttl)
  end
  return 1, 0, 0
end

local answers = {}
while cursor <= #ARGV do
  local own = {}
  for i = 1, tonumber(ARGV[cursor + 4]) do
    own[i] = tonumber(ARGV[cursor + 4 + i])
  end
  local units, priority, denied = tonumber(ARGV[cursor + 1]), tonumber(ARGV[cursor + 2]), tonumber(ARGV[cursor + 3])
  local granted, wait, blocker = decide(ARGV[cursor], units, priority, denied, own)
  table.insert(answers, granted)
  table.insert(answers, math.ceil(wait))
  table.insert(answers, blocker)
  cursor = cursor + 5 + #own
end
for _, limit in ipairs(limits) do
  tidy(limit, now, ttl)
end
if refused then
  redis.call('EXPIRE', KEYS[2], 86400)
  if redis.call('ZCARD', KEYS[2]) > 10000 then
    redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1001) -- those denied most stay; seldom, so that new ones have time to rise
  end
end
return answers
