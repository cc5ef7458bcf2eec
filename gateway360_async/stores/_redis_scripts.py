"""The script of `RedisStore`, in Lua: each step is one atomic run of it over all items of a list.

Invariants:

- It touches the keys that it was given, and no others. `KEYS[1]` is the identity (the epoch, `:`, the secret), `KEYS[2]`
  the withdrawn tokens by the time at which they are forgotten; then come the items' in their order.
- `ARGV[1]` is the step; `ARGV[2]` the epoch that the caller knows: with another one it gives `lost`, and changes nothing.
- `ARGV[3]` is the list, as JSON: redis-py would take longer over as many arguments than the rest of a step takes.
- Asking twice changes nothing the second time. A step that is refused (a full memory) has changed nothing.

A record is a hash: `s`, its state (`L` leased, `C` completed, `D` in doubt); `t`, the token; `l`, the lease's end (us);
`f`, the fingerprint; `i`, the report id; `r`, the result, which a resend has from before; `a`, there for a resend.

A count is a sorted set of tokens by the time of their claim (us). One without a window is that set for a day, from
which the older ones go over to a number beside it.
"""

from __future__ import annotations

import hashlib
from typing import Final

from .._retry import CATCH_UP, HORIZON
from ._base import WITHDRAWN_TTL

__all__ = ["SCRIPT", "SHA"]

SCRIPT: Final = f"""
local call, step, k, steps, out = redis.call, ARGV[1], 2, {{}}, {{}}
if step == 'open' then
  local held = call('GET', KEYS[1])
  if not held then call('SET', KEYS[1], ARGV[3]) end
  return {{held or ARGV[3]}}
end
if call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[2] then return 'lost' end
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

local function key() k = k + 1 return KEYS[k] end

local function record(item)
  return item and {{at = key(), ttl = item[1], forgets = item[2], fingerprint = item[3]}}
end

local function claim(item)
  local token, lease, report, force, rec, cool = unpack(item)
  return {{token = token, lease = lease, report = report, force = force, rec = record(rec), cool = record(cool)}}
end

local function read(rec)
  local h = rec and call('HMGET', rec.at, 's', 't', 'l', 'f', 'i', 'r', 'a')
  if not h or not h[2] then return nil end
  local left = h[1] == 'L' and math.max(0, h[3] - now) or 0
  local state = h[1] == 'C' and 'completed' or left > 0 and 'in_progress' or 'in_doubt'
  return {{s = h[1], state = state, token = h[2], left = left, fingerprint = h[4], report = h[5], result = h[6], again = h[7]}}
end

local function write(rec, c, state, lease, result)
  call('DEL', rec.at)
  call('HSET', rec.at, 's', state, 't', c.token, 'l', now + lease * 1000, 'f', rec.fingerprint)
  if c.report then call('HSET', rec.at, 'i', c.report) end
  if result then call('HSET', rec.at, 'r', result) end
  if state == 'C' or rec.forgets then call('PEXPIRE', rec.at, lease + rec.ttl) end
end

local function answer(held, rec, cooldown)
  local mismatch = rec.fingerprint ~= '' and held.fingerprint ~= rec.fingerprint
  return {{held.state, held.token, held.result, held.report, held.left, mismatch and 1 or 0, cooldown or 0}}
end

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

-- Gives 1 (claimed), the result from before (claimed to send it again), 0 (withdrawn), or an answer.
function steps.claim(item)
  local c, resend, replace, counts = claim(item), item[7], item[8], item[9]
  for n, count in ipairs(counts) do
    local most, window = unpack(count)
    counts[n] = {{at = key(), most = most, window = window or 86400000, total = not window and key()}}
  end
  if tonumber(call('ZSCORE', KEYS[2], c.token) or 0) > now then return 0 end
  local held, cooling = read(c.rec), read(c.cool)
  local known = held or not c.rec and cooling
  if known and known.s == 'L' and known.token == c.token then return known.result or 1 end
  if held and held.s == 'C' and held.token == replace then
    held = nil
  elseif held and (held.s == 'C' or held.token ~= resend) then
    return answer(held, c.rec)
  end
  if cooling and not c.force then return answer(cooling, c.cool, 1) end
  -- This changes nothing, and is refused where the memory is full: what a script has begun to change is let through.
  call('SETRANGE', KEYS[1], 0, '')
  for n, count in ipairs(counts) do
    if used(count) >= count.most and not call('ZSCORE', count.at, c.token) then
      return {{'limited', '', false, false, 0, 0, 0, n - 1}}
    end
  end
  for _, count in ipairs(counts) do
    call('ZADD', count.at, 'NX', now, c.token)
    if not count.total then call('PEXPIRE', count.at, count.window) end
  end
  if c.rec then write(c.rec, c, 'L', c.lease, held and held.result) end
  if held then call('HSET', c.rec.at, 'a', 1) end
  if c.cool and not cooling then write(c.cool, c, 'L', c.lease) end
  return held and held.result or 1
end

local function finish(rec, held, state, result)
  if held.s == 'C' then return end
  if state ~= 'F' then
    call('HSET', rec.at, 's', state, 'r', result)
    if state == 'C' or rec.forgets then call('PEXPIRE', rec.at, rec.ttl) end
  elseif held.again then
    call('HSET', rec.at, 's', 'D')
  else
    call('DEL', rec.at)
  end
end

function steps.complete(item)
  local c, state, result, withdrawn, give_back = claim(item), unpack(item, 7)
  for _ = 1, give_back do call('ZREM', key(), c.token) end
  if withdrawn then
    call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
    call('ZADD', KEYS[2], now + {WITHDRAWN_TTL * 1e6:.0f}, c.token)
    call('PEXPIRE', KEYS[2], {WITHDRAWN_TTL * 1e3:.0f})
  end
  local held, cooling = read(c.rec), read(c.cool)
  if c.rec and (held and held.token ~= c.token or not held and state ~= 'F') then return 0 end
  if held then finish(c.rec, held, state, result) end
  if cooling and cooling.token == c.token then
    finish(c.cool, cooling, state, result)
  elseif c.cool and state ~= 'F' and (not cooling or c.force and cooling.state ~= 'in_progress') then
    write(c.cool, c, state, 0, result)
  end
  return 1
end

function steps.renew(item)
  local c = claim(item)
  local function renewed(rec)
    local held = read(rec)
    if not held or held.token ~= c.token or held.state ~= 'in_progress' then return false end
    call('HSET', rec.at, 'l', now + c.lease * 1000)
    if rec.forgets then call('PEXPIRE', rec.at, c.lease + rec.ttl) end
    return true
  end
  if c.rec and not renewed(c.rec) then return 0 end
  return (not c.cool or renewed(c.cool) or c.rec) and 1 or 0
end

function steps.peek(item)
  local rec = record(item)
  local held = read(rec)
  return held and answer(held, rec) or 0
end

-- Gives how many, and in how many us the first is; or 0, and when to ask again.
function steps.permits(item)
  local at, interval, wanted, horizon = key(), item[1], item[2], now + {HORIZON * 1e6:.0f}
  local upcoming = math.max(tonumber(call('GET', at) or now), now - {CATCH_UP * 1e6:.0f})
  if upcoming > horizon + interval + 1000000 then upcoming = now end
  if upcoming > horizon then return {{0, math.ceil(upcoming - horizon)}} end
  local given = math.min(wanted, math.floor((horizon - upcoming) / interval) + 1)
  local after = upcoming + given * interval
  call('SET', at, string.format('%.3f', after), 'PX', math.ceil(math.max(0, after - now) / 1000) + 1000)
  return {{given, math.floor(upcoming - now)}}
end

function steps.header(item)
  local at, value, replace = key(), unpack(item)
  local held = call('GET', at)
  if not held or replace then call('SET', at, value) end
  return held or value
end

function steps.now() return now end

function steps.new_epoch(epoch) return call('SETRANGE', KEYS[1], 0, epoch) end

-- This changes nothing, and needs no room: after it, Redis takes the rest as well, however full its memory is.
if step == 'complete' or step == 'renew' then call('PERSIST', KEYS[1]) end
for n, item in ipairs(cjson.decode(ARGV[3])) do out[n] = steps[step](item) end
return out
"""

SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""The script's name in Redis."""
