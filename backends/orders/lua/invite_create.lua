-- invite_create.lua: one invite code per user and campaign; asked again, the same.
-- ARGV: user, code if one is made now
local user, code = ARGV[1], ARGV[2]
local key = P .. 'u:' .. user
local mine = redis.call('HGET', key, 'invite')
if mine then
  return {mine == code and 'created' or 'exists', mine, version_of(user)}
end
if redis.call('EXISTS', P .. 'i:' .. code) == 1 then
  return {'id_taken'}
end
redis.call('HSET', P .. 'i:' .. code, 'owner', user, 'accepted', 0)
redis.call('HSET', key, 'invite', code)
count('invites', 1)
return {'created', code, touch(user, now_ms())}
