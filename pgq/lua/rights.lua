-- rights: which of some commands the user of this call may not run. Runs none of them.
-- KEYS  [1] a key of ours
-- ARGV  per command: its name, how many arguments follow, those arguments
-- returns the names of those that are refused; none where the server cannot tell (before Redis 7)
local refused = {}
local at = 1
while redis.acl_check_cmd and at <= #ARGV do
  local count = tonumber(ARGV[at + 1])
  local words = {ARGV[at]}
  for i = 1, count do
    words[i + 1] = ARGV[at + 1 + i]
  end
  if not redis.acl_check_cmd(unpack(words)) then
    refused[#refused + 1] = ARGV[at]
  end
  at = at + 2 + count
end
return refused
