-- room.lua: one step of a waiting room's line that several gateways share. The law is that of
-- policies/waiting_room.c; people are members of sorted sets, so that presence is membership.
--
-- KEYS  1 state: hash   2 line: number -> order   3 seen: number -> last asked
--       4 turn: number -> when its turn came
-- ARGV  1 enter, look, join, leave or back   2 the ticket's epoch ("": none)   3 its number
--       4 admit: amount   5 admit: milliseconds   6 burst   7 waiting_max   8 grace_ms   9 keep_ms
--       10 draw_ms (0: by arrival)   11 lot, 0 to 2^20 - 1   12 epoch of a new line
--       13 the number of the place that is known to be the user's ("": none), where the ticket's is
--       not good any more   14 1: may take a new place
-- Reply {status, number, position, its error, epoch, waiting, tail, first number, admitted, left}
--
-- Time is that of Redis less what the line stood still: when nobody asked for half of keep while
-- people waited, the gateways or this Redis were away, and nobody loses a place for that.
local TURNS, SWEEP, LOTS = 500, 200, 1048576
local state, line, seen, turn = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local wish, number = ARGV[1], ARGV[3]
local burst, waiting_max = tonumber(ARGV[6]), tonumber(ARGV[7])
local grace, keep, draw = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])

local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local f = redis.call('HMGET', state, 'epoch', 'at', 'skew', 'passes', 'tail', 'admitted', 'left')
if not f[1] then
    redis.call('DEL', line, seen, turn)
    f = {ARGV[12], 0, clock, burst, 0, 0, 0}
end
local epoch, at, skew, passes = f[1], tonumber(f[2]), tonumber(f[3]), tonumber(f[4])
local tail, admitted, left = tonumber(f[5]), tonumber(f[6]), tonumber(f[7])
local waiting = redis.call('ZCARD', line)
local gap = clock - skew - at
if gap < 0 or (gap > keep / 2 and waiting > 0) then
    skew, gap = clock - at, 0
end
local now = at + gap
passes = passes + gap * tonumber(ARGV[4]) / tonumber(ARGV[5])

-- turns that were not taken go to others; who was not heard of has left
local late = redis.call('ZRANGEBYSCORE', turn, '-inf', now - grace, 'LIMIT', 0, SWEEP)
if #late > 0 then
    redis.call('ZREM', turn, unpack(late))
    passes = passes + #late
end
local gone = redis.call('ZRANGEBYSCORE', seen, '-inf', now - keep, 'LIMIT', 0, SWEEP)
if #gone > 0 then
    left = left + redis.call('ZREM', line, unpack(gone))
    redis.call('ZREM', seen, unpack(gone))
    waiting = redis.call('ZCARD', line)
end

local function admit()
    local count = math.min(math.floor(passes), waiting, TURNS)
    if count > 0 then
        local popped, members, turns = redis.call('ZPOPMIN', line, count), {}, {}
        for i = 1, #popped, 2 do
            members[#members + 1] = popped[i]
            turns[#turns + 1] = now
            turns[#turns + 1] = popped[i]
        end
        redis.call('ZREM', seen, unpack(members))
        redis.call('ZADD', turn, unpack(turns))
        admitted, passes, waiting = admitted + count, passes - count, waiting - count
    end
    if waiting == 0 and passes > burst then
        passes = burst
    end
end
admit()

local status = 'unknown'
if ARGV[2] == epoch and number ~= '' and wish == 'back' then
    redis.call('ZADD', turn, now, number)
elseif ARGV[2] == epoch then
    for _, known in ipairs({number, ARGV[13]}) do
        if status == 'unknown' and known ~= '' then
            if redis.call('ZSCORE', line, known) then
                status, number = 'waiting', known
            elseif redis.call('ZSCORE', turn, known) then
                status, number = 'admitted', known
            end
        end
    end
end

if wish == 'leave' and status == 'waiting' then
    redis.call('ZREM', line, number)
    redis.call('ZREM', seen, number)
    left, waiting, status = left + 1, waiting - 1, 'unknown'
elseif wish == 'leave' and status == 'admitted' then
    redis.call('ZREM', turn, number)
    passes, status = passes + 1, 'unknown'
    admit()
elseif wish == 'enter' and status == 'admitted' then
    redis.call('ZREM', turn, number)
elseif status == 'unknown' and (wish == 'enter' or wish == 'join') then
    if waiting == 0 and passes >= 1 then
        status = 'direct'
        if wish == 'enter' then
            passes = passes - 1
        end
    elseif waiting >= waiting_max or ARGV[14] ~= '1' then
        status = 'full'
    else
        number = string.format('%016d', tail)
        local order = now
        if draw > 0 then
            order = math.floor(now / draw) * draw + tonumber(ARGV[11]) * draw / LOTS
        end
        redis.call('ZADD', line, order, number)
        tail, waiting, status = tail + 1, waiting + 1, 'waiting'
    end
end

local position, doubt = 0, 0
if status == 'waiting' then
    redis.call('ZADD', seen, now, number)
    position = redis.call('ZRANK', line, number)
    if draw > 0 then
        local first = math.floor(now / draw) * draw
        local order = tonumber(redis.call('ZSCORE', line, number))
        if order >= first then -- others of its window are still coming: its lot may be any
            local before = redis.call('ZCOUNT', line, '-inf', '(' .. first)
            local others = redis.call('ZCOUNT', line, first, '+inf') - 1
            position = before + math.floor(others / 2)
            doubt = others - math.floor(others / 2)
        end
    end
elseif status == 'full' then
    position = waiting
end

redis.call('HSET', state, 'epoch', epoch, 'at', now, 'skew', skew, 'passes', passes, 'tail', tail,
    'admitted', admitted, 'left', left)
local first = redis.call('ZRANGE', line, 0, 0)[1] or string.format('%016d', tail)
return {status, number, position, doubt, epoch, waiting, tail, first, admitted, left}
