-- fulfil_step.lua: carry out the moves that are due: accepted -> confirmed -> completed. The state
-- decides, so each move has its effect once, however often and by whomever this is called.
-- ARGV: ms from the confirmation to the completion, how many moves at most
-- Gives: how many were made, and ms until the next is due (-1: none is known).
local wait_ms, most = tonumber(ARGV[1]), ARGV[2]
local next_of = {accepted = 'confirmed', confirmed = 'completed'}
local now = now_ms()
local due = redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, most)
for _, order in ipairs(due) do
  local key = P .. 'o:' .. order
  local o = redis.call('HMGET', key, 'user', 'status')
  local status = o[2] and next_of[o[2]]
  if status then
    local version = redis.call('HINCRBY', key, 'version', 1)
    redis.call('HSET', key, 'status', status)
    count(o[2], -1)
    count(status, 1)
    touch(o[1], now)
    redis.call('PUBLISH', P .. 'ev:' .. order, version .. ' ' .. status)
  end
  if status and next_of[status] then
    redis.call('ZADD', P .. 'due', now + wait_ms, order)
  else
    redis.call('ZREM', P .. 'due', order)
  end
end
local first = redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
local wait = -1
if first[2] then
  wait = math.max(0, tonumber(first[2]) - now)
end
return {#due, wait}
