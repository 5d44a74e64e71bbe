/** BullMQ's priorities end at 2^21. */
const LAST_PRIORITY = 1_900_000;
/** When the virtual clock is so far from its base, the base moves up. */
const FAR = 1_000_000;

/**
 * KEYS: 1 backlog, 2 queued, 3 limits. ARGV: 1 job, 2 pairs, 3 bytes, 4 tenant, 5 clock, 6 lane, 7 the lane's
 * weight, 8 1 if limits bind, 9 and 10 default limits. Returns 1 and the priority, or 0, which limit, what is
 * queued, and the limit. An entry of `queued` is `<pairs> <bytes> <start tag> <ms since 1970> <clock> <tenant>`.
 */
export const ADMIT_SCRIPT: string = `
local function priority(start)
  local base = tonumber(redis.call("HGET", KEYS[1], "base/" .. ARGV[5]) or "0")
  return tostring(math.min(${LAST_PRIORITY}, math.max(1, 1 + math.floor(start - base))))
end
local known = redis.call("HGET", KEYS[2], ARGV[1])
if known then return {1, priority(tonumber(string.match(known, "^%S+ %S+ (%S+)")))} end
local tenant = ARGV[4]
if ARGV[8] == "1" then
  local queued = redis.call("HMGET", KEYS[1], "pairs", "bytes", "pairs/" .. tenant, "bytes/" .. tenant)
  local most = redis.call("HMGET", KEYS[3], "pairs", "bytes", "pairs/" .. tenant, "bytes/" .. tenant,
    "tenantPairs", "tenantBytes")
  local bounds = {most[1] or ARGV[9], most[2] or ARGV[10], most[3] or most[5], most[4] or most[6]}
  -- Jobs of no tenant are nobody's, and bound by the model's limits alone.
  if tenant == "" then bounds = {bounds[1], bounds[2]} end
  local names = {"pairs", "bytes", "tenant pairs", "tenant bytes"}
  for i = 1, 4 do
    local now = tonumber(queued[i] or "0")
    local adds = tonumber(i % 2 == 1 and ARGV[2] or ARGV[3])
    if bounds[i] and now > 0 and now + adds > tonumber(bounds[i]) then
      return {0, names[i], tostring(now), bounds[i]}
    end
  end
end
local flow = "finish/" .. ARGV[6] .. "/" .. tenant
local tags = redis.call("HMGET", KEYS[1], "clock/" .. ARGV[5], flow)
local start = math.max(tonumber(tags[1] or "0"), tonumber(tags[2] or "0"))
local weight = tonumber(redis.call("HGET", KEYS[3], "weight/" .. tenant) or "1") * tonumber(ARGV[7])
local size = (tonumber(ARGV[3]) + 64 * tonumber(ARGV[2])) / 4096
redis.call("HSET", KEYS[1], flow, string.format("%.6f", start + size / weight))
redis.call("HINCRBY", KEYS[1], "pairs", ARGV[2])
redis.call("HINCRBY", KEYS[1], "bytes", ARGV[3])
redis.call("HINCRBY", KEYS[1], "pairs/" .. tenant, ARGV[2])
redis.call("HINCRBY", KEYS[1], "bytes/" .. tenant, ARGV[3])
local time = redis.call("TIME")[1] .. "000"
redis.call("HSET", KEYS[2], ARGV[1],
  table.concat({ARGV[2], ARGV[3], string.format("%.6f", start), time, ARGV[5], tenant}, " "))
return {1, priority(start)}
`;

/**
 * `release(backlog, queued, base, job)` in Lua, for every script that ends a job. When the virtual clock
 * has come far, the waiting jobs' priorities are moved down by as much, since BullMQ's end at 2^21 (once in
 * some 4 GB of text).
 */
export const RELEASE_LUA: string = `
local function release(backlog, queued, base_key, job)
  local entry = redis.call("HGET", queued, job)
  if not entry then return end
  redis.call("HDEL", queued, job)
  local count, bytes, start, _, clock, tenant = string.match(entry, "^(%S+) (%S+) (%S+) (%S+) (%S+) (.*)$")
  if redis.call("HINCRBY", backlog, "pairs", -tonumber(count)) <= 0 then
    redis.call("DEL", backlog)
    return
  end
  redis.call("HINCRBY", backlog, "bytes", -tonumber(bytes))
  if redis.call("HINCRBY", backlog, "pairs/" .. tenant, -tonumber(count)) <= 0 then
    redis.call("HDEL", backlog, "pairs/" .. tenant, "bytes/" .. tenant, "finish/interactive/" .. tenant,
      "finish/standard/" .. tenant, "finish/bulk/" .. tenant)
  else
    redis.call("HINCRBY", backlog, "bytes/" .. tenant, -tonumber(bytes))
  end
  local now = tonumber(redis.call("HGET", backlog, "clock/" .. clock) or "0")
  if tonumber(start) <= now then return end
  redis.call("HSET", backlog, "clock/" .. clock, start)
  local base = tonumber(redis.call("HGET", backlog, "base/" .. clock) or "0")
  local far = math.floor(tonumber(start) - base)
  if far < ${FAR} then return end
  redis.call("HSET", backlog, "base/" .. clock, base + far)
  local waiting = base_key .. (clock == "interactive" and "-interactive" or "") .. ":prioritized"
  local all = redis.call("ZRANGE", waiting, 0, -1, "WITHSCORES")
  for i = 1, #all, 2 do
    local score = tonumber(all[i + 1])
    local rest = score % ${2 ** 32}
    local moved = math.max(1, (score - rest) / ${2 ** 32} - far) * ${2 ** 32} + rest
    redis.call("ZADD", waiting, string.format("%.0f", moved), all[i])
  end
end
`;

/** KEYS: 1 backlog, 2 queued, 3 the queues' common name. ARGV: 1 job. */
export const RELEASE_SCRIPT: string = `${RELEASE_LUA}
release(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return 1
`;
