"""The Lua scripts of the Redis broker; Redis runs each of them wholly or not at all.

Keys, all under the prefix:
    ready:QUEUE:PRIORITY   stream of job ids, read by the consumer group `workers`; an entry stays
                           (pending) while its job is claimed
    priorities:QUEUE       the priorities that have a stream
    delayed:QUEUE claimed:QUEUE dead:QUEUE   job ids by the time they are due, lost, or died
    waiting:QUEUE          ready and delayed job ids by the time they were put
    expiring:QUEUE         waiting job ids by the time they expire
    live                   jobs that have not ended, by queue
    live:QUEUE             the same, by tenant
    job:ID                 everything about a job
    key:N,M:QUEUE:TENANT:KEY   the id of the job with this idempotency key; N and M are the lengths
                           of queue and tenant, which may have colons
    wake                   a stream of one entry, added whenever a job may have become ready
    queues, last_id, clock

The first two arguments are always the prefix and the time; without a time it is the server's, which
is the right one when several machines share the queues.
"""

from __future__ import annotations

_COMMON = """
local P = ARGV[1]
local function key(...) return P .. ':' .. table.concat({...}, ':') end
local function text(seconds) return string.format('%.6f', seconds) end

local function read_clock()  -- goes on from where it was when the source goes back
  local t = tonumber(ARGV[2])
  if not t then
    local r = redis.call('TIME')
    t = tonumber(r[1]) + tonumber(r[2]) / 1e6
  end
  local c = redis.call('HMGET', key('clock'), 'last', 'offset')
  local last, offset = tonumber(c[1]) or 0, tonumber(c[2]) or 0
  t = t + offset
  if t < last then
    offset = offset + last - t
    t = last
  end
  redis.call('HSET', key('clock'), 'last', text(t), 'offset', text(offset))
  return t
end
local now = read_clock()

local function key_of(queue, tenant, name)
  return key('key', #queue .. ',' .. #tenant, queue, tenant, name)
end

local function wake() redis.call('XADD', key('wake'), 'MAXLEN', 1, '*', 'wake', 1) end

local function job(id, ...) return redis.call('HMGET', key('job', id), ...) end

local function make_ready(id, queue, priority)
  local stream = key('ready', queue, priority)
  if redis.call('ZADD', key('priorities', queue), priority, priority) == 1 then
    redis.call('XGROUP', 'CREATE', stream, 'workers', '0', 'MKSTREAM')
  end
  local entry = redis.call('XADD', stream, '*', 'id', id)
  redis.call('HSET', key('job', id), 'state', 'ready', 'entry', entry)
end

local function make_delayed(id, queue, due)
  redis.call('HSET', key('job', id), 'state', 'delayed')
  redis.call('ZADD', key('delayed', queue), text(due), id)
end

local function wait(id, queue)  -- ready or delayed (again)
  local j = job(id, 'created', 'expires')
  redis.call('ZADD', key('waiting', queue), j[1], id)
  if j[2] ~= '' then redis.call('ZADD', key('expiring', queue), j[2], id) end
end

local function stop_waiting(id, queue)
  redis.call('ZREM', key('waiting', queue), id)
  redis.call('ZREM', key('expiring', queue), id)
end

local function leave_stream(id, queue)
  local j = job(id, 'priority', 'entry')
  local stream = key('ready', queue, j[1])
  redis.call('XACK', stream, 'workers', j[2])
  redis.call('XDEL', stream, j[2])
end

local function end_claim(id, queue)
  leave_stream(id, queue)
  redis.call('ZREM', key('claimed', queue), id)
end

local function count_live(id, queue, n)
  redis.call('HINCRBY', key('live'), queue, n)
  redis.call('HINCRBY', key('live', queue), job(id, 'tenant')[1], n)
end

local function bury(id, queue, error)
  redis.call('HSET', key('job', id), 'state', 'dead', 'error', error, 'died', text(now))
  redis.call('ZADD', key('dead', queue), text(now), id)
  count_live(id, queue, -1)
end

local function lose(id, queue)
  local j = job(id, 'attempts', 'max_attempts', 'worker', 'priority')
  end_claim(id, queue)
  if tonumber(j[1]) >= tonumber(j[2]) then
    bury(id, queue, 'worker ' .. j[3] .. ' did not finish attempt ' .. j[1])
  else
    make_ready(id, queue, j[4])
    wait(id, queue)
  end
end

local function due(set, queue)
  return redis.call('ZRANGEBYSCORE', key(set, queue), '-inf', text(now), 'LIMIT', 0, 1000)
end

local function advance(queue)  -- do what has become due
  for _, id in ipairs(due('expiring', queue)) do
    if job(id, 'state')[1] == 'delayed' then
      redis.call('ZREM', key('delayed', queue), id)
    else
      leave_stream(id, queue)
    end
    stop_waiting(id, queue)
    bury(id, queue, 'expired before anybody claimed it')
  end
  for _, id in ipairs(due('delayed', queue)) do
    redis.call('ZREM', key('delayed', queue), id)
    make_ready(id, queue, job(id, 'priority')[1])
  end
  for _, id in ipairs(due('claimed', queue)) do lose(id, queue) end
end

local function holds(id, receipt, worker)
  local j = job(id, 'state', 'receipt', 'worker')
  return j[1] == 'claimed' and j[2] == receipt and j[3] == worker
end
"""

PUT = (
    _COMMON
    + """
-- ARGV: bound, bound of a tenant, then for each job: queue, payload, priority, delay_s, key,
-- tenant, max_attempts, expires_s. Returns id and 1 when it is new, for each job; or the name of
-- the queue that is full; or the position of a job whose tenant has its bound.
local bound, tenant_bound, count = tonumber(ARGV[3]), tonumber(ARGV[4]), {}
local of_tenant = {}
for i = 5, #ARGV, 8 do
  local queue, name = ARGV[i], ARGV[i + 4]
  if name == '' or redis.call('EXISTS', key_of(queue, ARGV[i + 5], name)) == 0 then
    count[queue] = (count[queue] or 0) + 1
    local of = of_tenant[queue] or {}
    of_tenant[queue] = of
    local tenant = ARGV[i + 5]
    of[tenant] = of[tenant] or {0, (i - 5) / 8}
    of[tenant][1] = of[tenant][1] + 1
  end
end
for queue, n in pairs(count) do
  advance(queue)
  if (tonumber(redis.call('HGET', key('live'), queue)) or 0) + n > bound then return queue end
  for tenant, wanted in pairs(of_tenant[queue]) do
    local live = tonumber(redis.call('HGET', key('live', queue), tenant)) or 0
    if live + wanted[1] > tenant_bound then return wanted[2] end
  end
end
local ids = {}
for i = 5, #ARGV, 8 do
  local queue, priority, delay = ARGV[i], ARGV[i + 2], tonumber(ARGV[i + 3])
  local once = key_of(queue, ARGV[i + 5], ARGV[i + 4])
  local id = ARGV[i + 4] ~= '' and redis.call('GET', once)
  if id then
    ids[#ids + 1] = id
    ids[#ids + 1] = 0
  else
    id = string.format('%012d', redis.call('INCR', key('last_id')))
    local expires = ARGV[i + 7] ~= '' and text(now + tonumber(ARGV[i + 7])) or ''
    redis.call('HSET', key('job', id), 'queue', queue, 'payload', ARGV[i + 1],
      'priority', priority, 'tenant', ARGV[i + 5], 'max_attempts', ARGV[i + 6],
      'expires', expires, 'created', text(now), 'attempts', 0, 'receipt', 0,
      'key', ARGV[i + 4] ~= '' and once or '', 'worker', '', 'error', '')
    if delay > 0 then make_delayed(id, queue, now + delay) else make_ready(id, queue, priority) end
    wait(id, queue)
    if ARGV[i + 4] ~= '' then redis.call('SET', once, id) end
    redis.call('SADD', key('queues'), queue)
    count_live(id, queue, 1)
    ids[#ids + 1] = id
    ids[#ids + 1] = 1
  end
end
wake()
return ids
"""
)

CLAIM = (
    _COMMON
    + """
-- ARGV: worker, visibility_s, limit, queues... Returns the jobs, the last entry of `wake`, and the
-- seconds until something is due ('' when nothing is).
local worker, visibility, limit = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local streams = {}
for i = 6, #ARGV do
  advance(ARGV[i])
  for _, priority in ipairs(redis.call('ZRANGE', key('priorities', ARGV[i]), 0, -1)) do
    streams[#streams + 1] = {tonumber(priority), i, key('ready', ARGV[i], priority)}
  end
end
table.sort(streams, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
local jobs = {}
for _, s in ipairs(streams) do
  if #jobs >= limit then break end
  local queue = ARGV[s[2]]
  local got = redis.call('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', limit - #jobs,
    'STREAMS', s[3], '>')
  for _, entry in ipairs(got and got[1][2] or {}) do
    local id = entry[2][2]
    redis.call('HINCRBY', key('job', id), 'attempts', 1)
    redis.call('HINCRBY', key('job', id), 'receipt', 1)
    redis.call('HSET', key('job', id), 'state', 'claimed', 'worker', worker)
    redis.call('ZADD', key('claimed', queue), text(now + visibility), id)
    stop_waiting(id, queue)
    local j = job(id, 'queue', 'payload', 'priority', 'tenant', 'attempts', 'max_attempts',
      'worker', 'created', 'receipt')
    table.insert(j, 1, id)
    jobs[#jobs + 1] = j
  end
end
local last = redis.call('XREVRANGE', key('wake'), '+', '-', 'COUNT', 1)
local next_due = nil
for i = 6, #ARGV do
  for _, set in ipairs({'delayed', 'claimed'}) do
    local first = redis.call('ZRANGE', key(set, ARGV[i]), 0, 0, 'WITHSCORES')
    if first[2] then next_due = math.min(next_due or math.huge, tonumber(first[2])) end
  end
end
return {jobs, last[1] and last[1][1] or '0-0', next_due and text(next_due - now) or ''}
"""
)

ACKNOWLEDGE = (
    _COMMON
    + """
-- ARGV: id, receipt, worker, key_retention_s. Returns the queue, or nil when the claim was lost.
if not holds(ARGV[3], ARGV[4], ARGV[5]) then return nil end
local j = job(ARGV[3], 'queue', 'key')
end_claim(ARGV[3], j[1])
count_live(ARGV[3], j[1], -1)
redis.call('DEL', key('job', ARGV[3]))
if j[2] ~= '' then
  redis.call('PEXPIRE', j[2], math.max(math.floor(tonumber(ARGV[6]) * 1000), 1))
end
return j[1]
"""
)

FAIL = (
    _COMMON
    + """
-- ARGV: id, receipt, worker, error, 1 to retry, delay_s
if not holds(ARGV[3], ARGV[4], ARGV[5]) then return 'lost' end
local j = job(ARGV[3], 'queue', 'attempts', 'max_attempts')
end_claim(ARGV[3], j[1])
if ARGV[7] ~= '1' or tonumber(j[2]) >= tonumber(j[3]) then
  bury(ARGV[3], j[1], ARGV[6])
  return 'dead'
end
redis.call('HSET', key('job', ARGV[3]), 'error', ARGV[6])
make_delayed(ARGV[3], j[1], now + tonumber(ARGV[8]))
wait(ARGV[3], j[1])
wake()
return 'retry'
"""
)

EXTEND = (
    _COMMON
    + """
-- ARGV: id, receipt, worker, visibility_s
if not holds(ARGV[3], ARGV[4], ARGV[5]) then return 0 end
local until_s = text(now + tonumber(ARGV[6]))
redis.call('ZADD', key('claimed', job(ARGV[3], 'queue')[1]), until_s, ARGV[3])
return 1
"""
)

UNCLAIM = (
    _COMMON
    + """
-- ARGV: id, receipt, worker: as if it had not been claimed
if not holds(ARGV[3], ARGV[4], ARGV[5]) then return 0 end
local j = job(ARGV[3], 'queue', 'priority')
end_claim(ARGV[3], j[1])
redis.call('HINCRBY', key('job', ARGV[3]), 'attempts', -1)
make_ready(ARGV[3], j[1], j[2])
wait(ARGV[3], j[1])
wake()
return 1
"""
)

RECOVER = (
    _COMMON
    + """
-- ARGV: worker
local lost = 0
for _, queue in ipairs(redis.call('SMEMBERS', key('queues'))) do
  for _, id in ipairs(redis.call('ZRANGE', key('claimed', queue), 0, -1)) do
    if job(id, 'worker')[1] == ARGV[3] then
      lose(id, queue)
      lost = lost + 1
    end
  end
end
wake()
return lost
"""
)

DEAD = (
    _COMMON
    + """
-- ARGV: queue, limit
advance(ARGV[3])
local letters = {}
for _, id in ipairs(redis.call('ZRANGE', key('dead', ARGV[3]), 0, tonumber(ARGV[4]) - 1)) do
  local j = job(id, 'queue', 'payload', 'tenant', 'attempts', 'error', 'died')
  table.insert(j, 1, id)
  letters[#letters + 1] = j
end
return letters
"""
)

REQUEUE = (
    _COMMON
    + """
-- ARGV: id, and the tenant if it is to be that tenant's
local j = job(ARGV[3], 'state', 'queue', 'priority', 'tenant')
if j[1] ~= 'dead' or (ARGV[4] and ARGV[4] ~= j[4]) then return 0 end
redis.call('ZREM', key('dead', j[2]), ARGV[3])
redis.call('HSET', key('job', ARGV[3]), 'attempts', 0, 'error', '', 'expires', '')
count_live(ARGV[3], j[2], 1)
make_ready(ARGV[3], j[2], j[3])
wait(ARGV[3], j[2])
wake()
return 1
"""
)

PURGE = (
    _COMMON
    + """
-- ARGV: queue
local ids = redis.call('ZRANGE', key('dead', ARGV[3]), 0, -1)
for _, id in ipairs(ids) do
  local of = job(id, 'key')[1]
  if of ~= '' then redis.call('DEL', of) end
  redis.call('DEL', key('job', id))
end
redis.call('DEL', key('dead', ARGV[3]))
return #ids
"""
)

STATS = (
    _COMMON
    + """
-- Returns for each queue: name, waiting, delayed, claimed, dead, age of the oldest that waits
local stats = {}
for _, queue in ipairs(redis.call('SMEMBERS', key('queues'))) do
  advance(queue)
  local oldest = redis.call('ZRANGE', key('waiting', queue), 0, 0, 'WITHSCORES')
  stats[#stats + 1] = {queue,
    redis.call('ZCARD', key('waiting', queue)), redis.call('ZCARD', key('delayed', queue)),
    redis.call('ZCARD', key('claimed', queue)), redis.call('ZCARD', key('dead', queue)),
    oldest[2] and text(now - tonumber(oldest[2])) or '0'}
end
return stats
"""
)
