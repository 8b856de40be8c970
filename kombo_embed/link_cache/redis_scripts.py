"""The Lua scripts, each one an atomic step in Redis.

A link is stored under its key as generation (16 bytes), mint id (16 bytes) and encrypted body. Each origin id
has one random generation, and a link of any other generation is a miss. So an invalidation deletes the
generation, which also works when Redis is out of memory; and a generation that Redis evicted invalidates too
much, never too little.

Expiry counts on Redis's clock from before Kombo was called: a write that Redis executes late does not extend
the life of a link.
"""

from __future__ import annotations

from typing import Final

_NOW = """
local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

# KEYS link, generation. Returns the encrypted body and its remaining milliseconds, or nothing.
GET: Final = """
local link = redis.call('GET', KEYS[1])
if not link or string.sub(link, 1, 16) ~= redis.call('GET', KEYS[2]) then return false end
return {string.sub(link, 33), redis.call('PTTL', KEYS[1])}
"""

# KEYS link, generation, lease, failure, cool-down. ARGV mint id, awaited mint id or '', '1' if fresh;
# milliseconds that the link must have left, that a lease lasts, that a generation lasts; a new generation.
# Safe to repeat: the holder acquires its own lease again.
ACQUIRE: Final = (
    _NOW
    + """
local link, generation = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
if link and string.sub(link, 1, 16) == generation then
    local left, awaited = redis.call('PTTL', KEYS[1]), string.sub(link, 17, 32) == ARGV[2]
    if awaited or (ARGV[3] ~= '1' and left >= tonumber(ARGV[4])) then
        return {'link', string.sub(link, 33), left}
    end
end
local failure = ARGV[2] ~= '' and redis.call('GET', KEYS[4])
if failure and string.sub(failure, 1, 16) == ARGV[2] then return {'failure', string.sub(failure, 17)} end
local holder = redis.call('GET', KEYS[3])
if holder and holder ~= ARGV[1] then return {'held', holder} end
local cool_down = redis.call('GET', KEYS[5])
if cool_down then return {'cool_down', cool_down, redis.call('PTTL', KEYS[5])} end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[5])
redis.call('SET', KEYS[2], generation or ARGV[7], 'PX', ARGV[6])
return {'lease', generation or ARGV[7], now()}
"""
)

# KEYS link, generation, lease. ARGV mint id, generation of the lease, encrypted body, expiry in milliseconds,
# milliseconds that a generation lasts; a new generation. Returns nothing if stored, otherwise the generation
# and start for the next attempt.
PUT: Final = (
    _NOW
    + """
local generation = redis.call('GET', KEYS[2])
if generation ~= ARGV[2] then
    generation = generation or ARGV[6]
    redis.call('SET', KEYS[2], generation, 'PX', ARGV[5])
    return {generation, now()}
end
redis.call('SET', KEYS[1], ARGV[2] .. ARGV[1] .. ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
return false
"""
)

# KEYS lease. ARGV mint id, milliseconds.
RENEW: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""

# KEYS lease, failure. ARGV mint id, encrypted failure or '', milliseconds that waiting processes can read it.
RELEASE: Final = """
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[1] .. ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""

# KEYS generation, marker of this invalidation. ARGV milliseconds that the marker lasts.
INVALIDATE: Final = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return 1
"""

# KEYS cool-down. ARGV cause, milliseconds. A longer cool-down stays.
SHARE_COOL_DOWN: Final = """
if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS cool-down.
GET_COOL_DOWN: Final = """
local cool_down = redis.call('GET', KEYS[1])
return cool_down and {cool_down, redis.call('PTTL', KEYS[1])}
"""

# KEYS positions: a hash of the epoch and, for each database, the row up to which invalidations were applied.
# ARGV database. Returns the epoch and the position, or nothing if one of them was lost.
GET_POSITION: Final = """
local known = redis.call('HMGET', KEYS[1], 'epoch', ARGV[1])
return known[1] and known[2] and known
"""

# KEYS positions. ARGV database, new epoch, position, milliseconds that they are kept. Returns the epoch and
# the position of the first process that calls it. The positions of other databases stay.
BEGIN_EPOCH: Final = """
local known = redis.call('HMGET', KEYS[1], 'epoch', ARGV[1])
if known[1] and known[2] then return known end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {ARGV[2], ARGV[3]}
"""

# KEYS positions. ARGV database, epoch, position, milliseconds that they are kept. Returns the greatest
# position of any process, or nothing if another epoch has begun. A position that was lost is written again.
ADVANCE: Final = """
local known = redis.call('HMGET', KEYS[1], 'epoch', ARGV[1])
if known[1] and known[1] ~= ARGV[2] then return false end
local position = math.max(tonumber(ARGV[3]), tonumber(known[2] or '0'))
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], ARGV[1], string.format('%.0f', position))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return position
"""

# KEYS a key of no other use. Fails if Redis does not accept writes.
PROBE: Final = "return redis.call('SET', KEYS[1], '1', 'PX', 1000)"

ALL: Final = (
    *(GET, ACQUIRE, PUT, RENEW, RELEASE, INVALIDATE, SHARE_COOL_DOWN, GET_COOL_DOWN),
    *(GET_POSITION, BEGIN_EPOCH, ADVANCE, PROBE),
)
