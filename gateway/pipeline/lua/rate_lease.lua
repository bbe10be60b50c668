-- The shared count of one limit and key, as GCRA: charge what has passed already, then lease as much
-- of what is wanted as there is room for.
-- KEYS[1]  holds the due time, in microseconds since EPOCH
-- ARGV     charged (may be negative), wanted, amount, period in microseconds, burst
-- returns  tokens granted; with none, microseconds until there may be one
local EPOCH = 1700000000 -- a double keeps the parts of a microsecond that the due time needs
local charged, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local each = tonumber(ARGV[4]) / tonumber(ARGV[3])
local time = redis.call('TIME')
local now = (tonumber(time[1]) - EPOCH) * 1000000 + tonumber(time[2])
local due = tonumber(redis.call('GET', KEYS[1])) or now
due = math.max(now, math.max(now, due) + charged * each)
local latest = now + tonumber(ARGV[5]) * each
local granted = math.max(0, math.min(wanted, math.floor((latest - due) / each + 0.000001)))
due = due + granted * each
if due > now then
  redis.call('SET', KEYS[1], string.format('%.3f', due), 'PX', math.ceil((due - now) / 1000) + 1)
else
  redis.call('DEL', KEYS[1])
end
local wait = 0
if granted == 0 then
  wait = math.max(1, math.ceil(due + each - latest))
end
return {granted, wait}
