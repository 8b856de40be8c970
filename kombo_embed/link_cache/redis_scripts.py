"""What Redis is asked to do, in its own language: each script is one step that nobody comes in between of.

A link lies under its key as generation (16 bytes), mint (16 bytes) and sealed body. Its origin id has one
generation, a random one: a link of any other is not there. So a drop is the deletion of the generation, which
also works when Redis is full; and a generation that Redis lost or threw out drops too much, never too little.

Times of expiry are taken from Redis's own clock, before Kombo was asked: a write that Redis carries out late
does not make a link live longer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the name that Redis gives it once it was loaded."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", sha)


_NOW = """
local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

# The sealed body and its milliseconds left, or nothing.
LOOK = Script("""
local link = redis.call('GET', KEYS[1])
if not link or string.sub(link, 1, 16) ~= redis.call('GET', KEYS[2]) then return false end
return {string.sub(link, 33), redis.call('PTTL', KEYS[1])}
""")

# KEYS link, generation, lease, failure, cool-down. ARGV mint, mint waited for or '', '1' if fresh;
# milliseconds that the link must have left, that a lease lasts, that a generation lasts;
# a new generation.
CLAIM = Script(
    _NOW
    + """
local link, generation = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
if link and string.sub(link, 1, 16) == generation then
    local left, awaited = redis.call('PTTL', KEYS[1]), string.sub(link, 17, 32) == ARGV[2]
    if awaited or (ARGV[3] ~= '1' and left >= tonumber(ARGV[4])) then
        return {'found', string.sub(link, 33), left}
    end
end
local failure = ARGV[2] ~= '' and redis.call('GET', KEYS[4])
if failure and string.sub(failure, 1, 16) == ARGV[2] then return {'failed', string.sub(failure, 17)} end
local holder = redis.call('GET', KEYS[3])
if holder then return {'wait', holder} end
local cooling = redis.call('GET', KEYS[5])
if cooling then return {'cooling', cooling, redis.call('PTTL', KEYS[5])} end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[5])
redis.call('SET', KEYS[2], generation or ARGV[7], 'PX', ARGV[6])
return {'mine', generation or ARGV[7], now()}
"""
)

# KEYS link, generation, lease. ARGV mint, generation at its begin, sealed body, the end in milliseconds,
# milliseconds that a generation lasts; a new generation. Nothing, or what a new begin is given.
KEEP = Script(
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

# KEYS lease. ARGV mint, milliseconds.
RENEW = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
""")

# KEYS lease, failure. ARGV mint, sealed failure or '', milliseconds for those that wait to read it.
GIVE_UP = Script("""
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[1] .. ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
""")

# KEYS generation, mark of this drop. ARGV milliseconds that links live.
DROP = Script("""
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return 1
""")

# KEYS cool-down. ARGV what Kombo said, milliseconds.
COOL_DOWN = Script("""
if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

# KEYS cool-down.
COOLING = Script("""
local cooling = redis.call('GET', KEYS[1])
return cooling and {cooling, redis.call('PTTL', KEYS[1])}
""")

# KEYS one of nobody's: whether Redis can be written to.
PROBE = Script("return redis.call('SET', KEYS[1], '1', 'PX', 1000)")

ALL = (LOOK, CLAIM, KEEP, RENEW, GIVE_UP, DROP, COOL_DOWN, COOLING, PROBE)
