-- me.lua: all that a user has, at one moment. Reads only.
-- ARGV: user, how many coupons and orders at most
local user, most = ARGV[1], tonumber(ARGV[2])
local me = redis.call('HMGET', P .. 'u:' .. user, 'v', 'invite', 'accepted')
local accepted = me[2] and redis.call('HGET', P .. 'i:' .. me[2], 'accepted') or '0'

-- The latest ones, in the order of their coming; unused before used.
local ids = redis.call('LRANGE', P .. 'uc:' .. user, -most, -1)
if #ids < most then
  for _, id in ipairs(redis.call('LRANGE', P .. 'ux:' .. user, #ids - most, -1)) do
    ids[#ids + 1] = id
  end
end
local coupons = {}
for i, id in ipairs(ids) do
  local c = redis.call('HMGET', P .. 'c:' .. id, 'state', 'source', 'order')
  coupons[i] = {id, c[1], c[2], c[3] or ''}
end
local orders = {}
for i, id in ipairs(redis.call('LRANGE', P .. 'uo:' .. user, -most, -1)) do
  local o = redis.call('HMGET', P .. 'o:' .. id, 'user', 'sku', 'quantity', 'status', 'version',
                       'created')
  orders[i] = {id, o}
end
return {me[1] or '0', me[2] or '', accepted, me[3] or '', coupons, orders}
