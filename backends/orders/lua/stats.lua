-- stats.lua: figures of the campaign. Reads only.
-- ARGV: the articles. Gives: the counts in the order below, then the stock of each ('' if none).
local names = {'accepted', 'confirmed', 'completed', 'cancelled', 'placed', 'claims', 'invites',
               'accepts'}
local out = redis.call('HMGET', P .. 'counts', unpack(names))
for i = 1, #out do
  out[i] = out[i] or '0'
end
for _, sku in ipairs(ARGV) do
  out[#out + 1] = redis.call('GET', P .. 'stock:' .. sku) or ''
end
return out
