-- order.lua: idempotency record, coupon, stock, order and stream entry: all of them or none. A
-- refusal changes nothing, not even the record, so that the same key may try again.
-- ARGV: user, idempotency key, body, id for the order, sku, quantity, coupon or '',
--       lifetime of the record in ms, how many orders and used coupons are listed for a user
local user, key, digest, order = ARGV[1], ARGV[2], redis.sha1hex(ARGV[3]), ARGV[4]
local sku, quantity, coupon = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local ttl_ms, listed = ARGV[8], tonumber(ARGV[9])

local record = P .. 'k:' .. #user .. ':' .. user .. ':' .. key
local seen = redis.call('HMGET', record, 'body', 'order')
if seen[1] then
  if seen[1] ~= digest then
    return {'idempotency_key_reused'}
  end
  return {seen[2] == order and 'created' or 'replayed', seen[2], 'accepted', 1}
end
if coupon ~= '' then
  local owned = redis.call('HMGET', P .. 'c:' .. coupon, 'owner', 'state')
  if owned[1] ~= user then
    return {'coupon_unknown'}
  end
  if owned[2] ~= 'unused' then
    return {'coupon_used'}
  end
end
local left = redis.call('GET', P .. 'stock:' .. sku)
if not left then
  return {'sku_unknown'}
end
if tonumber(left) < quantity then
  return {'sold_out', left}
end
if redis.call('EXISTS', P .. 'o:' .. order) == 1 then
  return {'id_taken'}
end

local now = now_ms()
redis.call('DECRBY', P .. 'stock:' .. sku, quantity)
if coupon ~= '' then
  redis.call('HSET', P .. 'c:' .. coupon, 'state', 'used', 'order', order)
  redis.call('LREM', P .. 'uc:' .. user, 1, coupon)
  redis.call('RPUSH', P .. 'ux:' .. user, coupon)
  redis.call('LTRIM', P .. 'ux:' .. user, -listed, -1)
end
redis.call('HSET', P .. 'o:' .. order, 'user', user, 'sku', sku, 'quantity', quantity, 'coupon',
           coupon, 'status', 'accepted', 'version', 1, 'created', now)
redis.call('RPUSH', P .. 'uo:' .. user, order)
redis.call('LTRIM', P .. 'uo:' .. user, -listed, -1)
redis.call('XADD', P .. 'orders', '*', 'order', order)
redis.call('HSET', record, 'body', digest, 'order', order)
redis.call('PEXPIRE', record, ttl_ms)
count('accepted', 1)
count('placed', 1)
touch(user, now)
return {'created', order, 'accepted', 1}
