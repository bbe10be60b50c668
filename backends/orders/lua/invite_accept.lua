-- invite_accept.lua: a user accepts one invite ever; in the same step its owner gets a coupon, so
-- that an acceptance without its reward, or a reward twice, cannot be.
-- ARGV: user, code, id for the owner's coupon if it is given now
local user, code, coupon = ARGV[1], ARGV[2], ARGV[3]
local key = P .. 'u:' .. user
local owner = redis.call('HGET', P .. 'i:' .. code, 'owner')
if not owner then
  return {'invite_unknown'}
end
if owner == user then
  return {'own_invite'}
end
local before = redis.call('HMGET', key, 'accepted', 'credit')
if before[1] then
  if before[1] ~= code then
    return {'already_accepted'}
  end
  return {before[2] == coupon and 'created' or 'exists', code, version_of(user)}
end
if redis.call('EXISTS', P .. 'c:' .. coupon) == 1 then
  return {'id_taken'}
end
local now = now_ms()
redis.call('HSET', key, 'accepted', code, 'credit', coupon)
redis.call('HINCRBY', P .. 'i:' .. code, 'accepted', 1)
give_coupon(owner, coupon, 'invite', now)
count('accepts', 1)
touch(owner, now)
return {'created', code, touch(user, now)}
