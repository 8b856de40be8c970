"""The Lua scripts, each one an atomic step in Redis.

A link is stored under its key as generation (16 bytes), mint id (16 bytes) and encrypted content. Each origin
id has one random generation, and a link of any other generation is a miss. So an invalidation deletes the
generation, which also works when Redis is out of memory; and a generation that Redis evicted invalidates too
much, never too little.

Expiry counts on Redis's clock from before Kombo was called: a write that Redis executes late does not extend
the life of a link.

Others may write to Redis, too. A value of another type or size than ours counts as missing and is replaced;
so does a lease or a cool-down that lasts longer than ours do. No reply is longer than our longest value.
"""

from __future__ import annotations

from typing import Final

VALUE_BYTES: Final = 16_384  # that a link or a failure has at most
COOL_DOWN_MS: Final = 3_600_000  # that a cool-down lasts at most

_NOW = """
local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

# Returns a string of at most so many bytes, or false; the second result is whether something else is there.
_READ = """
local function read(key, longest)
    local value = redis.pcall('GETRANGE', key, 0, longest)
    if type(value) == 'table' then
        if not string.find(value.err, 'WRONGTYPE', 1, true) then redis.call('GETRANGE', key, 0, 0) end
        return false, true
    end
    if #value > longest then return false, true end
    return value ~= '' and value
end

local function read_id(key)
    local id, rejected = read(key, 16)
    if id and #id ~= 16 then return false, true end
    return id, rejected
end
"""

_READ_COOL_DOWN = (
    _READ
    + f"""
local function read_cool_down(key)
    local cause, rejected = read(key, 16)
    if not cause then return false, rejected end
    local left = redis.call('PTTL', key)
    if (cause ~= 'limited' and cause ~= 'unavailable') or left < 0 or left > {COOL_DOWN_MS} then
        return false, true
    end
    return cause, false, left
end
"""
)

# KEYS link, generation. Returns the link and its remaining milliseconds, or nothing; an empty link if the
# value cannot be one.
GET: Final = (
    _READ
    + f"""
local link, rejected = read(KEYS[1], {VALUE_BYTES})
if rejected then return {{'', 0}} end
if not link or string.sub(link, 1, 16) ~= read_id(KEYS[2]) then return false end
return {{link, redis.call('PTTL', KEYS[1])}}
"""
)

# KEYS link, generation, lease, failure, cool-down. ARGV mint id; awaited mint id or ''; mint id of a link
# that was rejected or ''; '1' if fresh; milliseconds that the link must have left, that a lease lasts, that a
# generation lasts; a new generation; milliseconds that a lease lasts at most. Returns the kind of reply, a
# value, a number, and which values were rejected. Safe to repeat: the holder acquires its own lease again.
ACQUIRE: Final = (
    _NOW
    + _READ_COOL_DOWN
    + f"""
local rejections = {{}}
local function accept(kind, value, rejected, number)
    if rejected then rejections[#rejections + 1] = kind end
    return value, number
end
local function reply(kind, value, number) return {{kind, value, number, table.concat(rejections, ' ')}} end

local link = accept('link', read(KEYS[1], {VALUE_BYTES}))
local generation = accept('generation', read_id(KEYS[2]))
local minted_by = link and string.sub(link, 17, 32)
if link and #link > 32 and string.sub(link, 1, 16) == generation and minted_by ~= ARGV[3] then
    local left, awaited = redis.call('PTTL', KEYS[1]), minted_by == ARGV[2]
    if awaited or (ARGV[4] ~= '1' and left >= tonumber(ARGV[5])) then return reply('link', link, left) end
end
if ARGV[2] ~= '' then
    local failure = accept('failure', read(KEYS[4], {VALUE_BYTES}))
    if failure and string.sub(failure, 1, 16) == ARGV[2] then return reply('failure', failure, 0) end
end
local holder = accept('lease', read_id(KEYS[3]))
if holder and holder ~= ARGV[1] then
    local left = redis.call('PTTL', KEYS[3])
    if left >= 0 and left <= tonumber(ARGV[9]) then return reply('held', holder, left) end
    accept('lease', false, true)
end
local cool_down, left = accept('cool_down', read_cool_down(KEYS[5]))
if cool_down then return reply('cool_down', cool_down, left) end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[6])
redis.call('SET', KEYS[2], generation or ARGV[8], 'PX', ARGV[7])
return reply('lease', generation or ARGV[8], now())
"""
)

# KEYS link, generation, lease. ARGV mint id, generation of the lease, encrypted content, expiry in
# milliseconds, milliseconds that a generation lasts; a new generation. Returns nothing if stored, otherwise
# the generation and start for the next attempt.
PUT: Final = (
    _NOW
    + _READ
    + """
local generation = read_id(KEYS[2])
if generation ~= ARGV[2] then
    generation = generation or ARGV[6]
    redis.call('SET', KEYS[2], generation, 'PX', ARGV[5])
    return {generation, now()}
end
redis.call('SET', KEYS[1], ARGV[2] .. ARGV[1] .. ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
if read_id(KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
return false
"""
)

# KEYS lease. ARGV mint id, milliseconds.
RENEW: Final = (
    _READ
    + """
if read_id(KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
)

# KEYS lease, failure. ARGV mint id, encrypted failure or '', milliseconds that waiting processes can read it.
RELEASE: Final = (
    _READ
    + """
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[1] .. ARGV[2], 'PX', ARGV[3]) end
if read_id(KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
)

# KEYS generation, marker of this invalidation. ARGV milliseconds that the marker lasts.
INVALIDATE: Final = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return 1
"""

# KEYS cool-down. ARGV cause, milliseconds. A longer cool-down stays.
SHARE_COOL_DOWN: Final = (
    _READ_COOL_DOWN
    + """
local cause, _, left = read_cool_down(KEYS[1])
if cause and left >= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
)

# KEYS cool-down. Returns the cause and the remaining milliseconds, or nothing; an empty cause if the value
# cannot be one.
GET_COOL_DOWN: Final = (
    _READ_COOL_DOWN
    + """
local cause, rejected, left = read_cool_down(KEYS[1])
if rejected then return {'', 0} end
return cause and {cause, left}
"""
)

# A position that no process of ours can have written counts as lost.
READ_POSITION: Final = """
local function read_position()
    local known = redis.pcall('HMGET', KEYS[1], 'epoch', ARGV[1])
    if known.err then redis.call('DEL', KEYS[1]) return nil end
    if not known[1] or #known[1] ~= 16 or not string.match(known[1], '^%x+$') then return nil end
    if not known[2] or #known[2] > 18 or not string.match(known[2], '^%d+$') then return known[1], nil end
    return known[1], known[2]
end
local epoch, position = read_position()
"""

# KEYS positions: a hash of the epoch and, for each database, the row up to which invalidations were applied.
# ARGV database. Returns the epoch and the position, or nothing if one of them was lost.
GET_POSITION: Final = f"""{READ_POSITION}
return epoch and position and {{epoch, position}}
"""

# KEYS positions. ARGV database, new epoch, position, milliseconds that they are kept. Returns the epoch and
# the position of the first process that calls it. The positions of other databases stay.
BEGIN_EPOCH: Final = f"""{READ_POSITION}
if epoch and position then return {{epoch, position}} end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {{ARGV[2], ARGV[3]}}
"""

# KEYS positions. ARGV database, epoch, position, milliseconds that they are kept. Returns the greatest
# position of any process, or nothing if another epoch has begun. A position that was lost is written again.
ADVANCE: Final = f"""{READ_POSITION}
if epoch and epoch ~= ARGV[2] then return false end
local greatest = math.max(tonumber(ARGV[3]), tonumber(position or '0'))
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], ARGV[1], string.format('%.0f', greatest))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return greatest
"""

# KEYS three keys of no other use, and one of each kind, whose access is checked. Fails if Redis accepts no
# writes; returns the commands of all scripts, those of rate limits included, that the user may not run.
PROBE: Final = """
local missing = {}
local function try(...)
    local reply = redis.pcall(...)
    if type(reply) ~= 'table' or not reply.err then return end
    local reason = string.lower(reply.err)
    if not string.find(reason, 'permission') and not string.find(reason, "can't run") then redis.call(...) end
    missing[#missing + 1] = string.lower((...))
end
try('SET', KEYS[1], '1', 'PX', 1000)
try('GETRANGE', KEYS[1], 0, 1)
try('EXISTS', KEYS[1])
try('PTTL', KEYS[1])
try('PEXPIRE', KEYS[1], 1000)
try('PEXPIREAT', KEYS[1], 1)
try('TIME')
try('DEL', KEYS[1], KEYS[2])
try('LPUSH', KEYS[2], 1)
try('LINDEX', KEYS[2], 0)
try('LTRIM', KEYS[2], 1, 0)
try('HSET', KEYS[3], '1', '1')
try('HMGET', KEYS[3], '1')
try('PEXPIRE', KEYS[3], 1000)
return missing
"""
