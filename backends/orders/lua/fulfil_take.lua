-- fulfil_take.lua: stream entries become due moves, and leave the stream, in one step.
-- ARGV: consumer group, ms until the confirmation, then pairs of entry id and order
local group, wait_ms = ARGV[1], tonumber(ARGV[2])
local now = now_ms()
local taken = 0
for i = 3, #ARGV, 2 do
  local entry, order = ARGV[i], ARGV[i + 1]
  if redis.call('HGET', P .. 'o:' .. order, 'status') == 'accepted' then
    taken = taken + redis.call('ZADD', P .. 'due', 'NX', now + wait_ms, order)
  end
  redis.call('XACK', P .. 'orders', group, entry)
  redis.call('XDEL', P .. 'orders', entry)
end
return taken
