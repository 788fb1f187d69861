-- limit: the state of one limit, and what every verb does with it. Put before each verb; does nothing by itself.
--
-- Three keys in one hash slot; times are microseconds of the server's clock.
--   window   zset  permit -> when its units count from: granted + slack, or the end of its run where that came first;
--                  permit#n -> the same for those of its tasks that ended before the others
--   running  zset  permit -> when its hold lapses unless it is renewed
--   book     hash  w, r: units in the window and tasks running; w:<permit>, r:<permit>: those of one permit;
--                  s:<permit>: when it was granted (not by force); b:<permit>: all of it has begun;
--                  e:<permit>: its units under names of their own;
--                  now: the clock last seen;
--                  last: no hold lapses later; until: paused till then;
--                  took: how long a task holds its permit, smoothed;
--                  t<priority>: when the last task of that priority was told to come back; turns: nobody was told later
-- A permit should be used until granted + slack, so its units stay in the window `per` after that moment (or after its
-- end): no stretch of `per` holds more than `max` starts, wherever it begins. Its holder may be stopped when it has just
-- looked at the clock, and start something later than that. So while a permit is held, its units leave only when the
-- holder has said that all of it has begun, and until when at the latest; they count from there where that was late.
-- Every change is absolute ("this permit runs 2"), never a step, so that saying it twice changes nothing.
-- A verb reads each limit once (refresh), works on what it read, and writes the sums once (tidy).

local SUMS = { w = 'used', r = 'busy' }
local ZSETS = { w = 'window', r = 'running' }
local TAILS = { 't0', 't1', 't2', 't3', 't4', 't5', 't6', 't7', 't8', 't9', 't10' }

-- The moment that is some microseconds ago; nil for ''.
local function back(now, ago)
  return ago ~= '' and now - tonumber(ago) or nil
end

local function exact(number)
  return string.format('%.0f', number)
end

local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- A setting as a whole number, nil for ''. Anything else is an error, before anything of its limit is written.
local function number(word)
  local found = tonumber(word)
  if found and found >= 0 and found <= 9007199254740992 and found % 1 == 0 then
    return found
  elseif word ~= '' then
    error('a setting must be a whole number up to 2^53, got ' .. string.format('%q', tostring(word)), 0)
  end
end

-- The limit whose keys begin at KEYS[k] and whose settings at ARGV[a]: max, per, slack, slots; '' means none.
local function limit_at(k, a)
  if not number(ARGV[2]) then
    error('the ttl of a hold is wanted', 0)
  end
  return {
    window = KEYS[k], running = KEYS[k + 1], book = KEYS[k + 2],
    max = number(ARGV[a]), per = number(ARGV[a + 1]) or 0, slack = number(ARGV[a + 2]) or 0,
    slots = number(ARGV[a + 3]),
  }
end

local function noted(limit, field)
  return tonumber(redis.call('HGET', limit.book, field) or 0)
end

-- Set what one permit has of a kind ('w': units in the window, 'r': tasks that run), and until or from when.
local function put(limit, kind, permit, count, at)
  local field, sum = kind .. ':' .. permit, SUMS[kind]
  local before = noted(limit, field)
  redis.call('ZADD', limit[ZSETS[kind]], exact(at), permit)
  if count ~= before then
    redis.call('HSET', limit.book, field, exact(count))
    limit[sum] = limit[sum] + count - before
  end
end

local function drop(limit, kind, permit)
  local field, sum = kind .. ':' .. permit, SUMS[kind]
  redis.call('ZREM', limit[ZSETS[kind]], permit)
  limit[sum] = math.max(limit[sum] - noted(limit, field), 0)
  if kind == 'r' then
    redis.call('HDEL', limit.book, field, 's:' .. permit, 'b:' .. permit)
  else
    redis.call('HDEL', limit.book, field, 'e:' .. permit)
  end
end

-- Whether something may still start under a permit: it was granted, and its holder has not said that all has begun.
local function open(limit, permit)
  local known = redis.call('HMGET', limit.book, 's:' .. permit, 'b:' .. permit)
  return known[1] and not known[2]
end

-- Keep a permit whose time has run out, where something may still start under it; returns whether its units stay.
local function kept(limit, kind, permit, now)
  local counts = limit.max and open(limit, permit) and tonumber(redis.call('ZSCORE', limit.window, permit) or nil)
  local lapses = counts and tonumber(redis.call('ZSCORE', limit.running, permit) or nil)
  if not lapses then
    return false
  end
  local from = math.min(lapses, now) -- who was silent for its lease counts as dead, and starts nothing after that
  redis.call('ZADD', limit.window, exact(math.max(from, counts)), permit)
  return kind == 'w'
end

-- Drop what has a kind's score up to `upto`.
local function lapse(limit, kind, upto, now)
  local sum, zset = SUMS[kind], limit[ZSETS[kind]]
  if limit[sum] == 0 then
    return
  end
  local oldest = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  if #oldest == 0 then
    limit[sum] = 0 -- that key was evicted or deleted: what it summed up to must not stay for ever
  elseif tonumber(oldest[2]) <= upto then
    for _, permit in ipairs(redis.call('ZRANGEBYSCORE', zset, '-inf', exact(upto))) do
      if not kept(limit, kind, permit, now) then
        drop(limit, kind, permit)
      end
    end
  end
end

-- The clock stepped back: everything keeps its distance to now, but nobody keeps a turn.
local function step_back(limit, by)
  for _, zset in ipairs({ limit.window, limit.running }) do
    for _, permit in ipairs(redis.call('ZRANGE', zset, 0, -1)) do
      redis.call('ZINCRBY', zset, exact(-by), permit)
    end
  end
  limit.last = limit.last - by
  redis.call('HSET', limit.book, 'last', exact(limit.last))
  if limit.pause > 0 then
    limit.pause = limit.pause - by
    redis.call('HSET', limit.book, 'until', exact(limit.pause))
  end
  redis.call('HDEL', limit.book, 'turns', unpack(TAILS))
  limit.turns = 0
end

-- Read where the limit stands, and let go of what has left the window and of holds that lapsed.
local function refresh(limit, now)
  local read = redis.call('HMGET', limit.book, 'now', 'w', 'r', 'last', 'until', 'took', 'turns')
  local seen = tonumber(read[1] or 0)
  limit.used, limit.busy = tonumber(read[2] or 0), tonumber(read[3] or 0)
  limit.last, limit.pause, limit.took = tonumber(read[4] or 0), tonumber(read[5] or 0), tonumber(read[6] or 0)
  limit.turns = tonumber(read[7] or 0)
  -- The first write must be one that a server without memory refuses: then it refuses all of them, and nothing is half done.
  redis.call('HSET', limit.book, 'now', exact(now))
  if now < seen then
    step_back(limit, seen - now)
  end
  lapse(limit, 'r', now, now)
  if limit.max then
    lapse(limit, 'w', now - limit.per - 1, now)
  end
end

-- How many units and how many tasks it would let start now.
local function room(limit, now)
  if limit.pause > now then
    return 0, 0
  end
  local units = limit.max and math.max(limit.max - limit.used, 0) or math.huge
  local slots = limit.slots and math.max(limit.slots - limit.busy, 0) or math.huge
  return units, slots
end

-- Write a permit down by force: `units` in the window, `count` tasks running.
local function hold(limit, permit, units, count, now, ttl)
  if limit.max and units > 0 then
    put(limit, 'w', permit, units, now + limit.slack)
  end
  if count > 0 then
    put(limit, 'r', permit, count, now + ttl)
    limit.last = math.max(limit.last, now + ttl)
  end
end

-- Give a permit that is not held: it is new, so one write does for what `hold` must compare.
local function grant(limit, permit, units, count, now, ttl)
  local fields = { 'r:' .. permit, exact(count), 's:' .. permit, exact(now) }
  if limit.max then
    local before = noted(limit, 'w:' .. permit)
    if before > 0 then -- it lapsed and is given once more
      redis.call('HDEL', limit.book, 'e:' .. permit)
    end
    redis.call('ZADD', limit.window, exact(now + limit.slack), permit)
    limit.used = limit.used + units - before
    fields[5], fields[6] = 'w:' .. permit, exact(units)
  end
  redis.call('ZADD', limit.running, exact(now + ttl), permit)
  redis.call('HSET', limit.book, unpack(fields))
  limit.busy = limit.busy + count
  limit.last = math.max(limit.last, now + ttl)
end

-- Whether a permit is still held as it was granted; its units count from now on then. It only moves forward inside the
-- window that holds it, so nobody else can have taken its place. One that others wrote down by force, or its holder
-- after it had lapsed, says that something runs: it lets nothing start that has not.
local function renewed(limit, permit, now)
  if noted(limit, 's:' .. permit) == 0 or not redis.call('ZSCORE', limit.running, permit) then
    return false
  end
  if not limit.max then
    return true
  end
  local counts = redis.call('ZSCORE', limit.window, permit)
  if counts then
    redis.call('ZADD', limit.window, exact(now + limit.slack), permit)
  end
  return counts
end

-- The part of a report that is about the window. While tasks of the permit run, a unit above one for each of them is
-- of a task that has ended: it counts from that end, under a name of its own, and waits for none of the others. Where
-- `over` is nil, none has ended. All that was not given back had begun at `begun`; nil: perhaps not all, or late.
local function settle(limit, permit, units, count, over, begun)
  local counts = tonumber(redis.call('ZSCORE', limit.window, permit) or nil)
  if not counts then
    return
  end
  local latest = counts -- whatever has ended had begun by then
  if begun then
    counts = math.max(counts, begun)
    latest = counts
    if count > 0 and open(limit, permit) then
      redis.call('HSET', limit.book, 'b:' .. permit, 1)
    end
  elseif open(limit, permit) then
    latest = math.huge
  end
  local apart = noted(limit, 'e:' .. permit)
  local left = math.min(noted(limit, 'w:' .. permit), math.max(units - apart, 0))
  local ended = math.min(latest, over or counts)
  if over and count > 0 and left > count then
    apart = apart + left - count
    local name = permit .. '#' .. exact(apart)
    put(limit, 'w', name, noted(limit, 'w:' .. name) + left - count, ended)
    redis.call('HSET', limit.book, 'e:' .. permit, exact(apart))
    left = count
  end
  if left > 0 then
    put(limit, 'w', permit, left, count > 0 and counts or ended)
  else
    drop(limit, 'w', permit)
  end
end

-- Bring a permit down to the `units` it used and the `count` it still runs; nothing here ever raises either. The last of
-- its tasks that ended did so at `over`: what a report takes to arrive costs no share of the rate.
local function report(limit, permit, units, count, over, begun)
  settle(limit, permit, units, count, over, begun)
  if count > 0 then
    local lapses = tonumber(redis.call('ZSCORE', limit.running, permit) or nil)
    if lapses and count < noted(limit, 'r:' .. permit) then
      put(limit, 'r', permit, count, lapses)
    end
    return
  end
  local granted = noted(limit, 's:' .. permit)
  if granted > 0 and units > 0 and over > granted then
    local took = over - granted
    if limit.took > 0 then -- one that took very long says little of the next
      took = limit.took * 0.8 + math.min(took, limit.took * 4) * 0.2
    end
    limit.took = took
    redis.call('HSET', limit.book, 'took', exact(limit.took))
  end
  drop(limit, 'r', permit)
end

-- When `units` more, at most `max`, will have room in the window.
local function leaves(limit, units)
  local missing, from = limit.used + units - limit.max, 0
  while missing > 0 do
    local page = redis.call('ZRANGE', limit.window, from, from + 63, 'WITHSCORES')
    if #page == 0 then
      return 0
    end
    for i = 1, #page, 2 do
      missing = missing - noted(limit, 'w:' .. page[i])
      if missing <= 0 then
        return tonumber(page[i + 1]) + limit.per + 1
      end
    end
    from = from + 64
  end
  return 0
end

-- Leave nothing behind that says nothing: an idle limit takes no memory.
local function tidy(limit, now, ttl)
  local life = math.max(limit.pause, limit.turns) - now
  if life <= 0 and limit.used == 0 and limit.busy == 0 then
    redis.call('DEL', limit.window, limit.running, limit.book)
    return
  end
  redis.call(
    'HSET', limit.book, 'w', exact(limit.used), 'r', exact(limit.busy), 'last', exact(limit.last), 'turns', exact(limit.turns)
  )
  -- A caller with a shorter ttl must not let the holds of another expire.
  life = math.max(life, limit.per + math.max(limit.slack, ttl, limit.last - now)) + 1000000
  life = exact(math.ceil(life / 1000))
  redis.call('PEXPIRE', limit.book, life)
  for kind, sum in pairs(SUMS) do
    if limit[sum] > 0 then
      redis.call('PEXPIRE', limit[ZSETS[kind]], life)
    end
  end
end
