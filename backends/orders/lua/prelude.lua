-- prelude.lua: put before every script here.
-- KEYS[1] is the campaign's prefix "{fg:CAMPAIGN}:" and every key starts with it: one slot of a
-- cluster, so that one script may change them together. Time is Redis's own.
--
--   u:USER   hash    created v claimed invite accepted credit    v counts every change of the user
--   uc:USER  list    coupons not used yet        ux:USER  list   used ones, the latest few
--   uo:USER  list    orders, the latest few
--   c:ID     hash    owner state(unused|used) source(claim|invite) created order
--   i:CODE   hash    owner accepted
--   o:ID     hash    user sku quantity coupon status version created
--   k:LEN:USER:KEY   hash with expiry: body(digest) order; LEN keeps USER and KEY apart
--   stock:SKU integer    orders stream    due sorted set of orders by the time of their next move
--   counts   hash    orders by status, claims, invites, accepts
--   ev:ID    channel "VERSION STATUS", published at each change of an order
local P = KEYS[1]

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- The user changed: gives the new version of the user.
local function touch(user, now)
  local key = P .. 'u:' .. user
  redis.call('HSETNX', key, 'created', now)
  return redis.call('HINCRBY', key, 'v', 1)
end

local function version_of(user)
  return redis.call('HGET', P .. 'u:' .. user, 'v') or '0'
end

local function count(name, by)
  redis.call('HINCRBY', P .. 'counts', name, by)
end

local function give_coupon(user, coupon, source, now)
  redis.call('HSET', P .. 'c:' .. coupon, 'owner', user, 'state', 'unused', 'source', source,
             'created', now)
  redis.call('RPUSH', P .. 'uc:' .. user, coupon)
end
