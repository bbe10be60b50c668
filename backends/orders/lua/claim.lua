-- claim.lua: one coupon per user and campaign.
-- ARGV: user, id for the coupon if it is given now
local user, coupon = ARGV[1], ARGV[2]
local key = P .. 'u:' .. user
local mine = redis.call('HGET', key, 'claimed')
if mine then
  -- The very id proposed: this is the second try of a command whose reply was lost.
  return {mine == coupon and 'created' or 'already_claimed', mine, version_of(user)}
end
if redis.call('EXISTS', P .. 'c:' .. coupon) == 1 then
  return {'id_taken'}
end
local now = now_ms()
give_coupon(user, coupon, 'claim', now)
redis.call('HSET', key, 'claimed', coupon)
count('claims', 1)
return {'created', coupon, touch(user, now)}
