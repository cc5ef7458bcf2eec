"""The scripts of `RedisStore`, in Lua. Each is one atomic step over all of its items.

Invariants:

- A script touches the keys that it was given, and no others. `KEYS[1]` is the identity: the epoch, `:`, the secret.
- `ARGV[1]` is the epoch that the caller knows. With another one a script gives `lost`, and changes nothing.
- `ARGV[2]` is a list in JSON: redis-py would take longer over as many arguments than the rest of a question takes.
- Asking twice changes nothing the second time. A script that is refused (a full memory) has changed nothing.

A record is a hash: `s`, its state (`L` leased, `C` completed, `D` in doubt); `t`, the token; `l`, the lease's end (us);
`f`, the fingerprint; `i`, the report id; `r`, the result, which a resend has from before; `a`, there for a resend.

A count is a sorted set of tokens by the time of their claim (us). One without a window is that set for a day, from
which the older ones go over to a number beside it.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from ._base import CATCH_UP, HORIZON, WITHDRAWN_TTL

__all__ = [
    "CLAIM",
    "COMPLETE",
    "HEADER",
    "IDENTITY",
    "NEW_EPOCH",
    "NOW",
    "PEEK",
    "PERMITS",
    "RENEW",
    "Script",
]


class Script(NamedTuple):
    """A script's text, and what Redis calls it: the hash of that."""

    text: str
    sha: str


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# Checks the epoch, and reads arguments: `record` reads a record's, of which '' says that there is none.
_CHECKED: Final = """
local call, args, a, k, out = redis.call, cjson.decode(ARGV[2]), 0, 2, {}
if call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then return 'lost' end
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local function arg() a = a + 1 return args[a] end
local function number() return tonumber(arg()) end
local function key() k = k + 1 return KEYS[k] end

local function record()
  local ttl = arg()
  return ttl ~= '' and {at = key(), ttl = tonumber(ttl), forgets = arg() == '1', fingerprint = arg()}
end

local function read(at)
  local h = call('HMGET', at, 's', 't', 'l', 'f', 'i', 'r', 'a')
  if not h[2] then return nil end
  local left = h[1] == 'L' and math.max(0, h[3] - now) or 0
  local state = h[1] == 'C' and 'completed' or left > 0 and 'in_progress' or 'in_doubt'
  return {s = h[1], state = state, token = h[2], left = left, fingerprint = h[4], report = h[5], result = h[6], again = h[7]}
end

local function write(rec, state, token, lease, report, result)
  call('DEL', rec.at)
  call('HSET', rec.at, 's', state, 't', token, 'l', now + lease * 1000, 'f', rec.fingerprint)
  if report ~= '' then call('HSET', rec.at, 'i', report:sub(2)) end
  if result then call('HSET', rec.at, 'r', result) end
  if state == 'C' or rec.forgets then call('PEXPIRE', rec.at, lease + rec.ttl) end
end

local function answer(held, mismatch, cooldown)
  return {held.state, held.token, held.result, held.report, held.left, mismatch or 0, cooldown or 0, false}
end
"""

_EACH: Final = "for n = 1, number() do out[n] = step() end return out"

# This changes nothing, and needs no room: after it, Redis takes the rest as well, however full its memory is.
_LET_THROUGH: Final = "call('PERSIST', KEYS[1])"

# `KEYS[2]`: the withdrawn tokens, by the time at which they are forgotten. Gives 1 (claimed), 0 (free), or an answer.
CLAIM: Final = _script(f"""{_CHECKED}
local withdrawn = call('EXISTS', KEYS[2]) == 1

-- How many count. At most 100 entries are put right in one step; the others count as they should all the same: one that
-- has left the window does not, and one that is ahead (the clock was set back) does.
local function used(count)
  for _, token in ipairs(call('ZRANGEBYSCORE', count.at, string.format('(%.0f', now), '+inf', 'LIMIT', 0, 100)) do
    call('ZADD', count.at, now, token)
  end
  local live = call('ZCOUNT', count.at, string.format('(%.0f', now - count.window * 1000), '+inf')
  local old = call('ZCARD', count.at) - live
  local gone = old > 0 and call('ZREMRANGEBYRANK', count.at, 0, math.min(old, 100) - 1) or 0
  if not count.total then return live end
  if gone > 0 then call('INCRBY', count.total, gone) end
  return live + old - gone + (call('GET', count.total) or 0)
end

local function claimed(token, held) return held and held.result and answer({{state = 'claimed', token = token,
  result = held.result, report = held.report, left = 0}}) or 1 end

local function step()
  local token, lease, report, resend, replace, force = arg(), number(), arg(), arg(), arg(), arg() == '1'
  local rec, cool, counts = record(), record(), {{}}
  for n = 1, number() do
    local count = {{at = key(), most = number(), window = number()}}
    if not count.window then count.total, count.window = key(), 86400000 end
    counts[n] = count
  end
  if withdrawn and tonumber(call('ZSCORE', KEYS[2], token) or 0) > now then return 0 end
  local held, cooling = rec and read(rec.at), cool and read(cool.at)
  local known = held or not rec and cooling
  if known and known.s == 'L' and known.token == token then return claimed(token, known) end
  if held and held.s == 'C' and held.token == replace then
    held = nil
  elseif held and (held.s == 'C' or held.token ~= resend) then
    return answer(held, rec.fingerprint ~= '' and held.fingerprint ~= rec.fingerprint and 1)
  end
  if cooling and not force then return answer(cooling, 0, 1) end
  -- This changes nothing, and is refused where the memory is full: what a script has begun to change is let through.
  call('SETRANGE', KEYS[1], 0, '')
  for n, count in ipairs(counts) do
    if used(count) >= count.most and not call('ZSCORE', count.at, token) then
      return {{'limited', '', false, false, 0, 0, 0, n - 1}}
    end
  end
  for _, count in ipairs(counts) do
    call('ZADD', count.at, 'NX', now, token)
    if not count.total then call('PEXPIRE', count.at, count.window) end
  end
  if rec then write(rec, 'L', token, lease, report, held and held.result) end
  if held then
    call('HSET', rec.at, 'a', 1)
    held.report = report ~= '' and report:sub(2)
  end
  if cool and not cooling then write(cool, 'L', token, lease, report) end
  return claimed(token, held)
end
{_EACH}""")

# `KEYS[2]`: as for `CLAIM`. Gives 1 or 0 for each.
COMPLETE: Final = _script(f"""{_CHECKED}{_LET_THROUGH}
local function finish(rec, held, state, result)
  if held.s == 'C' then return end
  if state == 'F' and not held.again then
    call('DEL', rec.at)
  elseif state == 'F' then
    call('HSET', rec.at, 's', 'D')
  else
    call('HSET', rec.at, 's', state, 'r', result)
    if state == 'C' or rec.forgets then call('PEXPIRE', rec.at, rec.ttl) end
  end
end

local function step()
  local token, report, state, result, force, withdrawn = arg(), arg(), arg(), arg(), arg() == '1', arg() == '1'
  local rec, cool = record(), record()
  for _ = 1, number() do call('ZREM', key(), token) end
  if withdrawn then
    call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
    call('ZADD', KEYS[2], now + {WITHDRAWN_TTL * 1e6:.0f}, token)
    call('PEXPIRE', KEYS[2], {WITHDRAWN_TTL * 1e3:.0f})
  end
  local held, cooling = rec and read(rec.at), cool and read(cool.at)
  if rec and (held and held.token ~= token or not held and state ~= 'F') then return 0 end
  if held then finish(rec, held, state, result) end
  if cooling and cooling.token == token then
    finish(cool, cooling, state, result)
  elseif cool and state ~= 'F' and (not cooling or force and cooling.state ~= 'in_progress') then
    write(cool, state, token, 0, report, result)
  end
  return 1
end
{_EACH}""")

# Gives 1 or 0 for each.
RENEW: Final = _script(f"""{_CHECKED}{_LET_THROUGH}
local function renewed(rec, token, lease)
  local held = read(rec.at)
  if not held or held.token ~= token or held.state ~= 'in_progress' then return false end
  call('HSET', rec.at, 'l', now + lease * 1000)
  if rec.forgets then call('PEXPIRE', rec.at, lease + rec.ttl) end
  return true
end

local function step()
  local token, lease, rec, cool = arg(), number(), record(), record()
  if rec and not renewed(rec, token, lease) then return 0 end
  return (not cool or renewed(cool, token, lease) or rec) and 1 or 0
end
{_EACH}""")

# Gives an answer, or 0 (free), for each key from the third on.
PEEK: Final = _script(f"""{_CHECKED}
for n = 3, #KEYS do
  local held, fingerprint = read(KEYS[n]), arg()
  out[n - 2] = held and answer(held, fingerprint ~= '' and held.fingerprint ~= fingerprint and 1) or 0
end
return out""")

# `KEYS[3]`: when the next permit is (us). Gives how many, and in how many us the first is, or when to ask again.
PERMITS: Final = _script(f"""{_CHECKED}
local interval, wanted, horizon = number(), number(), {HORIZON * 1e6:.0f}
local at = math.max(tonumber(call('GET', KEYS[3]) or now), now - {CATCH_UP * 1e6:.0f})
if at > now + horizon + interval + 1000000 then at = now end
if at > now + horizon then return {{0, math.ceil(at - now - horizon)}} end
local given = math.min(wanted, math.floor((now + horizon - at) / interval) + 1)
local after = at + given * interval
call('SET', KEYS[3], string.format('%.3f', after), 'PX', math.ceil(math.max(0, after - now) / 1000) + 1000)
return {{given, math.floor(at - now)}}""")

# `KEYS[3]`: the header. Gives the one from before, or else the new one.
HEADER: Final = _script(f"""{_CHECKED}
local held, value, replace = call('GET', KEYS[3]), arg(), arg()
if not held or replace == '1' then call('SET', KEYS[3], value) end
return {{held or value}}""")

NOW: Final = _script(f"{_CHECKED} return {{now}}")

# Gives the identity; where there is none, `ARGV[2]` becomes it.
IDENTITY: Final = _script("""
local held = redis.call('GET', KEYS[1])
if not held then redis.call('SET', KEYS[1], ARGV[2]) end
return {held or ARGV[2]}""")

# Puts `ARGV[2]` in the place of the epoch.
NEW_EPOCH: Final = _script(f"{_CHECKED} call('SETRANGE', KEYS[1], 0, arg()) return {{1}}")
